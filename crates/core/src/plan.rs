//! What a deployment would change and do, without doing it: a pure function of records.

use crate::application::{Application, Desired};
use crate::deployment::{Deployment, Kind, Outcome, Phase};
use crate::hook::HookPoint;
use crate::spec::Workload;
use crate::{Artifacts, Millis, ServiceName, Spec};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// How many of the last deployments a prediction is made of.
const PREDICTED_FROM: usize = 10;

/// What a deployment would change and do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// The release that is live, if one is.
    pub live: Option<u64>,
    /// What it runs, as it was written.
    pub source_before: Option<String>,
    /// What would run, as it is written.
    pub source: String,
    /// What exactly runs now.
    pub artifacts_before: Option<Artifacts>,
    /// What exactly would run; nothing where that is not known before it is fetched.
    pub artifacts: Option<Artifacts>,
    /// The settings that would change. Values of variables are never told.
    pub changes: Vec<Change>,
    /// Whether a deployment would do nothing.
    pub is_unchanged: bool,
    /// What would be done, in its order.
    pub steps: Vec<String>,
    /// How long earlier deployments took until their cutover, and in all: the medians, in milliseconds.
    pub predicted: Option<Prediction>,
    /// Memory that a second slot may take beside the present one, in bytes; nothing without a limit.
    pub memory_bytes: Option<u64>,
    /// What the output of a second slot may take on disk, in bytes.
    pub disk_bytes: u64,
}

/// A setting that would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// Its path, such as `health.path`.
    pub path: String,
    /// What it is; nothing where it is new.
    #[schema(value_type = Option<Object>)]
    pub before: Option<Value>,
    /// What it would be; nothing where it goes.
    #[schema(value_type = Option<Object>)]
    pub after: Option<Value>,
}

/// How long a deployment will take, by those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Prediction {
    /// Until the cutover.
    pub cutover: Millis,
    /// In all.
    pub whole: Millis,
    /// The deployments that it is made of.
    pub deployments: usize,
}

impl Plan {
    /// What deploying `spec` would change and do. `artifacts` is what exactly it would run, if that is known;
    /// `history` are the last deployments.
    #[must_use]
    pub fn new(app: Option<&Application>, spec: &Spec, artifacts: Option<Artifacts>, history: &[Deployment]) -> Plan {
        let live = app.and_then(|app| app.live_placement().filter(|_| app.desired == Desired::Running));
        let artifacts_before = live.map(|live| live.artifacts.clone());
        let changes = live.map(|live| differences(&live.spec, spec)).unwrap_or_default();
        let is_same = artifacts.is_some() && artifacts == artifacts_before;
        let limited = spec
            .services
            .values()
            .map(|service| Some(service.resources.memory_bytes?.saturating_mul(u64::from(service.replicas))));
        let logs = spec.services.values().map(|service| {
            let bytes = service.log.file_bytes.saturating_mul(u64::from(service.log.file_count));
            bytes.saturating_mul(u64::from(service.replicas))
        });
        Plan {
            live: live.map(|live| live.release),
            source_before: live.map(|live| source(&live.spec)),
            source: source(spec),
            is_unchanged: is_same && changes.is_empty(),
            artifacts_before,
            artifacts,
            changes,
            steps: steps(spec, live.is_some()),
            predicted: predict(history),
            memory_bytes: limited.sum(),
            disk_bytes: logs.sum(),
        }
    }
}

/// The image or program, as it was written; of several services that differ, each with its name in front.
#[must_use]
pub fn source(spec: &Spec) -> String {
    let of = |workload: &Workload| match workload {
        Workload::Docker(container) => container.image.clone(),
        Workload::Process(process) | Workload::Systemd(process) => process.command.join(" "),
    };
    let sources: BTreeMap<_, _> = spec.services.iter().map(|(name, service)| (name, of(&service.workload))).collect();
    // Services often run the same thing in different ways.
    let different: BTreeSet<_> = sources.values().collect();
    let named = sources.iter().map(|(name, source)| format!("{name} {source}"));
    match different.iter().next() {
        Some(only) if different.len() == 1 => (*only).clone(),
        _ => named.collect::<Vec<_>>().join(", "),
    }
}

fn differences(before: &Spec, after: &Spec) -> Vec<Change> {
    let value = |spec: &Spec| serde_json::to_value(spec).unwrap_or_default();
    let mut changes = Vec::new();
    compare("", Some(&value(before)), Some(&value(after)), &mut changes);
    let is_plain = |spec: &Spec| spec.services.len() == 1 && spec.services.contains_key(&ServiceName::default());
    if is_plain(before) && is_plain(after) {
        // In such a configuration no service is named.
        let only = format!("services.{}.", ServiceName::default());
        for change in &mut changes {
            change.path = change.path.strip_prefix(&only).unwrap_or(&change.path).to_owned();
        }
    }
    changes
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<Change>) {
    if before == after {
        return;
    }
    if let (Some(Value::Object(before)), Some(Value::Object(after))) = (before, after) {
        let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        for key in keys {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            compare(&path, before.get(key), after.get(key), changes);
        }
        return;
    }
    let is_secret = path.split('.').any(|part| part == "variables");
    let told = |value: Option<&Value>| value.map(|value| if is_secret { Value::from("…") } else { value.clone() });
    changes.push(Change { path: path.to_owned(), before: told(before), after: told(after) });
}

fn steps(spec: &Spec, has_live: bool) -> Vec<String> {
    let of = |name: &ServiceName| if spec.has_several_services() { format!(" of {name}") } else { String::new() };
    let fetched = spec.services.values().map(|service| match &service.workload {
        Workload::Docker(container) => format!("fetch {}", container.image),
        Workload::Process(process) | Workload::Systemd(process) => {
            format!("copy {}", process.command.first().map_or("the program", String::as_str))
        }
    });
    // Two services often run the same image.
    let mut steps: Vec<_> = fetched.collect::<BTreeSet<_>>().into_iter().collect();
    let hooks = |at: HookPoint| spec.hooks.iter().filter(move |hook| hook.at == at);
    let named = |at: HookPoint| hooks(at).map(|hook| format!("{} {}", kind(hook.migration.is_some()), hook.name));
    steps.extend(named(HookPoint::BeforeStart));
    for (name, service) in &spec.services {
        let instances = if service.replicas == 1 { "instance" } else { "instances" };
        steps.push(format!("start {} {instances}{} beside what runs", service.replicas, of(name)));
    }
    steps.extend(spec.services.iter().map(|(name, service)| match &service.health.path {
        Some(path) => format!("check {path}{} until {} passed", of(name), service.health.passes),
        None => format!("wait until it has run for {}{}", service.health.settle, of(name)),
    }));
    steps.extend(spec.gates.iter().map(|gate| format!("gate {}", gate.name)));
    if let Some(rule) = &spec.approval {
        steps.push(format!("approval by {}", rule.people));
    }
    steps.extend(named(HookPoint::BeforeCutover));
    steps.extend(named(HookPoint::Held).map(|name| format!("{name}, with requests held")));
    for step in spec.strategy.canary().filter(|_| has_live).iter().flat_map(|canary| &canary.steps) {
        let lasts = step.pause.map_or("until promoted".to_owned(), |pause| format!("for {pause}"));
        steps.push(format!("canary {} % {lasts}", step.weight));
    }
    steps.push("the cutover".to_owned());
    steps.extend(named(HookPoint::AfterCutover));
    steps.push(format!("observe for {}", spec.timing.observe));
    steps.extend(named(HookPoint::AfterSuccess));
    if has_live {
        let how = if spec.timing.park { "parked" } else { "running" };
        steps.push(format!("keep the old release {how} for {}", spec.timing.keep_warm));
    }
    steps
}

const fn kind(is_migration: bool) -> &'static str {
    if is_migration { "migration" } else { "hook" }
}

fn predict(history: &[Deployment]) -> Option<Prediction> {
    let succeeded = history.iter().filter(|deployment| {
        let is_success = matches!(deployment.phase, Phase::Ended(Outcome::Succeeded { .. }));
        deployment.kind == Kind::Deploy && is_success
    });
    let times = succeeded.take(PREDICTED_FROM).filter_map(|deployment| {
        let began = deployment.passed.iter().find(|passed| passed.phase == "preparing")?.since;
        Some((deployment.receipt.cutover_at?.since(began), deployment.phase_since.since(began)))
    });
    let times: Vec<_> = times.collect();
    let median = |mut times: Vec<Millis>| {
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    };
    Some(Prediction {
        cutover: median(times.iter().map(|(cutover, _)| *cutover).collect())?,
        whole: median(times.iter().map(|(_, whole)| *whole).collect())?,
        deployments: times.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Placement;
    use crate::spec::{Container, Resources};
    use std::sync::Arc;

    fn spec() -> Spec {
        let image = "shop:1".to_owned();
        let container =
            Container { image, command: None, entrypoint: None, user: None, volumes: Vec::new(), init: false };
        Spec::new("shop/production".parse().unwrap(), Workload::Docker(container), 3000)
    }

    fn live(spec: Spec) -> Application {
        let mut app = Application::new("shop/production".parse().unwrap());
        let id = "shop/production/blue/3".parse().unwrap();
        app.slots.insert(crate::Slot::Blue, Placement::candidate(id, 2, Arc::new(spec), Artifacts::only("sha256:1")));
        app.live = Some(crate::Slot::Blue);
        app
    }

    #[test]
    fn the_very_same_is_no_change() {
        let app = live(spec());
        assert!(Plan::new(Some(&app), &spec(), Some(Artifacts::only("sha256:1")), &[]).is_unchanged);
        assert!(!Plan::new(Some(&app), &spec(), Some(Artifacts::only("sha256:2")), &[]).is_unchanged);
        assert!(!Plan::new(Some(&app), &spec(), None, &[]).is_unchanged, "what is not known may be anything");
        assert!(!Plan::new(None, &spec(), Some(Artifacts::only("sha256:1")), &[]).is_unchanged);
    }

    #[test]
    fn changes_are_told_by_path_and_values_of_variables_never() {
        let mut old = spec();
        fn web(spec: &mut Spec) -> &mut crate::spec::Service {
            spec.services.get_mut("web").unwrap()
        }
        web(&mut old).variables.insert("TOKEN".into(), "secret-one".into());
        let mut new = spec();
        web(&mut new).variables.insert("TOKEN".into(), "secret-two".into());
        web(&mut new).variables.insert("NEW".into(), "secret-three".into());
        web(&mut new).replicas = 3;
        web(&mut new).resources = Resources { memory_bytes: Some(64 << 20), cpu_millis: None };
        let plan = Plan::new(Some(&live(old)), &new, Some(Artifacts::only("sha256:1")), &[]);
        let paths: Vec<_> = plan.changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(paths, ["replicas", "resources.memory_bytes", "variables.NEW", "variables.TOKEN"]);
        assert!(!serde_json::to_string(&plan).unwrap().contains("secret"));
        assert_eq!(plan.memory_bytes, Some(3 * (64 << 20)));
    }
}
