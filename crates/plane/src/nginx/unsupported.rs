//! The parts of a specification that nginx does not support, reported before a deployment starts.

use gapless_core::hook::HookPoint;
use gapless_core::strategy::{Choose, Matcher};
use gapless_core::{Millis, Spec};

/// The parts of `spec` that nginx does not support, with reasons, for people. Empty if nginx supports everything.
#[must_use]
pub fn unsupported(spec: &Spec) -> Vec<String> {
    let mut all = Vec::new();
    for hook in spec.hooks.iter().filter(|hook| hook.at == HookPoint::Held) {
        all.push(format!(
            "the hook {:?} needs requests on hold (`when = \"held\"`), and nginx cannot hold requests",
            hook.name
        ));
    }
    if spec.judge.errors_max_permille.is_some() || has_bounds(spec) {
        all.push("`[judge]` sets limits for errors or latencies, and nginx counts neither by release".to_owned());
    }
    if let Some(canary) = spec.strategy.canary() {
        if spec.judge.false_alarms > 0 {
            let why = "a canary is compared with the live release, and nginx counts neither errors nor latencies by \
                       release; write `false_alarms = 0` in `[judge]` to do without";
            all.push(why.to_owned());
        }
        all.extend(choice(&canary.choose));
    }
    if spec.routes.iter().any(|route| route.path.as_str().contains('%')) {
        all.push("a path prefix has an escape (`%`), and nginx compares decoded paths".to_owned());
    }
    all
}

fn has_bounds(spec: &Spec) -> bool {
    let bounds = &spec.judge.latency_max;
    [bounds.p50, bounds.p95, bounds.p99].iter().any(Option::<Millis>::is_some)
}

fn choice(choose: &Choose) -> Vec<String> {
    match choose {
        Choose::Random => Vec::new(),
        Choose::Sticky => vec!["sticky visitors need a signed cookie, which nginx cannot make".to_owned()],
        Choose::Hash { header } => header_name(header).into_iter().collect(),
        Choose::Match(matchers) => {
            let names = matchers.iter().filter_map(|matcher| match matcher {
                Matcher::Header { name, .. } => header_name(name),
                Matcher::Cookie { .. } | Matcher::Path(_) => None,
            });
            names.collect()
        }
    }
}

/// Checks a header's name. nginx has headers as variables, in which a hyphen becomes an underscore; besides hyphens,
/// only letters and digits are allowed.
fn header_name(name: &str) -> Option<String> {
    let is_good = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (!is_good).then(|| format!("nginx cannot distinguish the header {name:?}: use only letters, digits and hyphens"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gapless_core::spec::{Process, Workload};
    use gapless_core::strategy::{Canary, Strategy};

    fn spec() -> Spec {
        let process = Process { command: vec!["/bin/true".into()], directory: "/".into(), user: None };
        Spec::new("shop/production".parse().unwrap(), Workload::Process(process), 0)
    }

    fn canary(choose: Choose) -> Spec {
        let strategy = Strategy::Canary(Canary { steps: Vec::new(), choose, expires: Millis::from_secs(1) });
        let mut spec = Spec { strategy, ..spec() };
        spec.judge.false_alarms = 0;
        spec
    }

    #[test]
    fn plain_release_is_supported() {
        assert_eq!(unsupported(&spec()), Vec::<String>::new());
        assert_eq!(unsupported(&canary(Choose::Random)), Vec::<String>::new());
        assert_eq!(unsupported(&canary(Choose::Hash { header: "x-user".into() })), Vec::<String>::new());
    }

    #[test]
    fn each_unsupported_part_has_a_reason() {
        let mut judged = canary(Choose::Sticky);
        judged.judge.false_alarms = 100;
        judged.judge.errors_max_permille = Some(10);
        let all = unsupported(&judged).join("\n");
        for part in ["`[judge]` sets limits", "false_alarms = 0", "signed cookie"] {
            assert!(all.contains(part), "{part} is not in {all}");
        }
        assert_eq!(unsupported(&canary(Choose::Hash { header: "x_user".into() })).len(), 1);
    }
}
