//! What a deployment would change and do, without doing it: a pure function of records.

use crate::application::{Application, Desired};
use crate::deployment::{Deployment, Kind, Outcome, Phase};
use crate::hook::HookPoint;
use crate::spec::Workload;
use crate::{Millis, Spec};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
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
    pub artifact_before: Option<String>,
    /// What exactly would run; nothing where that is not known before it is fetched.
    pub artifact: Option<String>,
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
    /// What deploying `spec` would change and do. `artifact` is what exactly it would run, as far as that is known;
    /// `history` are the last deployments.
    #[must_use]
    pub fn new(app: Option<&Application>, spec: &Spec, artifact: Option<String>, history: &[Deployment]) -> Plan {
        let live = app.and_then(|app| app.live_placement().filter(|_| app.desired == Desired::Running));
        let artifact_before = live.map(|live| live.artifact.clone());
        let changes = live.map(|live| differences(&live.spec, spec)).unwrap_or_default();
        let is_same = artifact.is_some() && artifact == artifact_before;
        let memory_bytes = spec.resources.memory_bytes.map(|bytes| bytes.saturating_mul(u64::from(spec.replicas)));
        let log_bytes = spec.log.file_bytes.saturating_mul(u64::from(spec.log.file_count));
        Plan {
            live: live.map(|live| live.release),
            source_before: live.map(|live| source(&live.spec.workload)),
            source: source(&spec.workload),
            is_unchanged: is_same && changes.is_empty(),
            artifact_before,
            artifact,
            changes,
            steps: steps(spec, live.is_some()),
            predicted: predict(history),
            memory_bytes,
            disk_bytes: log_bytes.saturating_mul(u64::from(spec.replicas)),
        }
    }
}

/// The image or the program, as it was written.
#[must_use]
pub fn source(workload: &Workload) -> String {
    match workload {
        Workload::Docker(container) => container.image.clone(),
        Workload::Process(process) => process.command.join(" "),
    }
}

fn differences(before: &Spec, after: &Spec) -> Vec<Change> {
    let value = |spec: &Spec| serde_json::to_value(spec).unwrap_or_default();
    let mut changes = Vec::new();
    compare("", Some(&value(before)), Some(&value(after)), &mut changes);
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
    let is_secret = path.starts_with("variables.");
    let told = |value: Option<&Value>| value.map(|value| if is_secret { Value::from("…") } else { value.clone() });
    changes.push(Change { path: path.to_owned(), before: told(before), after: told(after) });
}

fn steps(spec: &Spec, has_live: bool) -> Vec<String> {
    let mut steps = vec![match &spec.workload {
        Workload::Docker(container) => format!("fetch {}", container.image),
        Workload::Process(_) => "copy the program".to_owned(),
    }];
    let hooks = |at: HookPoint| spec.hooks.iter().filter(move |hook| hook.at == at);
    let named = |at: HookPoint| hooks(at).map(|hook| format!("{} {}", kind(hook.migration.is_some()), hook.name));
    steps.extend(named(HookPoint::BeforeStart));
    let instances = if spec.replicas == 1 { "instance" } else { "instances" };
    steps.push(format!("start {} {instances} beside what runs", spec.replicas));
    steps.push(format!("check {} until {} passed", spec.health.path, spec.health.passes));
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
        app.slots.insert(crate::Slot::Blue, Placement::candidate(id, 2, Arc::new(spec), "sha256:1".into()));
        app.live = Some(crate::Slot::Blue);
        app
    }

    #[test]
    fn the_very_same_is_no_change() {
        let app = live(spec());
        assert!(Plan::new(Some(&app), &spec(), Some("sha256:1".into()), &[]).is_unchanged);
        assert!(!Plan::new(Some(&app), &spec(), Some("sha256:2".into()), &[]).is_unchanged);
        assert!(!Plan::new(Some(&app), &spec(), None, &[]).is_unchanged, "what is not known may be anything");
        assert!(!Plan::new(None, &spec(), Some("sha256:1".into()), &[]).is_unchanged);
    }

    #[test]
    fn changes_are_told_by_path_and_values_of_variables_never() {
        let mut old = spec();
        old.variables.insert("TOKEN".into(), "secret-one".into());
        let mut new = spec();
        new.variables.insert("TOKEN".into(), "secret-two".into());
        new.variables.insert("NEW".into(), "secret-three".into());
        new.replicas = 3;
        new.resources = Resources { memory_bytes: Some(64 << 20), cpu_millis: None };
        let plan = Plan::new(Some(&live(old)), &new, Some("sha256:1".into()), &[]);
        let paths: Vec<_> = plan.changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(paths, ["replicas", "resources.memory_bytes", "variables.NEW", "variables.TOKEN"]);
        assert!(!serde_json::to_string(&plan).unwrap().contains("secret"));
        assert_eq!(plan.memory_bytes, Some(3 * (64 << 20)));
    }
}
