//! The plan of a deployment: the changes and steps that it would make. A pure function of records.

use crate::application::{Application, Desired};
use crate::deployment::{Deployment, Kind, Outcome, Phase};
use crate::hook::HookPoint;
use crate::spec::Workload;
use crate::{Artifacts, Millis, ServiceName, Spec};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// The number of recent deployments that a prediction uses.
const PREDICTED_FROM: usize = 10;

/// The changes and steps of a deployment that has not been started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// The number of the live release.
    pub live: Option<u64>,
    /// The live image or program, as written in the configuration.
    pub source_before: Option<String>,
    /// The new image or program, as written in the configuration.
    pub source: String,
    /// The live artifacts.
    pub artifacts_before: Option<Artifacts>,
    /// The new artifacts; `None` until they have been fetched.
    pub artifacts: Option<Artifacts>,
    /// The settings that would change. The values of environment variables are never shown.
    pub changes: Vec<Change>,
    /// The deployment would do nothing.
    pub is_unchanged: bool,
    /// The steps of the deployment, in their order.
    pub steps: Vec<String>,
    /// The durations of earlier deployments.
    pub predicted: Option<Prediction>,
    /// The memory limit of the second slot, in bytes; `None` without a limit.
    pub memory_bytes: Option<u64>,
    /// The largest output of the second slot on disk, in bytes.
    pub disk_bytes: u64,
}

/// A setting that would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// The path of the setting, such as `health.path`.
    pub path: String,
    /// The live value; `None` for a new setting.
    #[schema(value_type = Option<Object>)]
    pub before: Option<Value>,
    /// The new value; `None` for a removed setting.
    #[schema(value_type = Option<Object>)]
    pub after: Option<Value>,
}

/// The expected duration of a deployment: medians of earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Prediction {
    /// The time until the cutover.
    pub cutover: Millis,
    /// The time until the end.
    pub whole: Millis,
    /// The number of deployments behind the medians.
    pub deployments: usize,
}

impl Plan {
    /// The plan of a deployment of `spec`. `artifacts` are the resolved ones, if they are known; `history` has the most
    /// recent deployments.
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
            // The sum of limits may exceed the largest number; a limit reserves no memory.
            memory_bytes: limited.reduce(|all, one| Some(all?.saturating_add(one?))).flatten(),
            disk_bytes: logs.fold(0, u64::saturating_add),
        }
    }
}

/// The image or program, as written in the configuration; of several services that differ, each with its service's
/// name.
#[must_use]
pub fn source(spec: &Spec) -> String {
    let of = |workload: &Workload| match workload {
        Workload::Docker(container) => container.image.clone(),
        Workload::Process(process) | Workload::Systemd(process) => process.command.join(" "),
    };
    let sources: BTreeMap<_, _> = spec.services.iter().map(|(name, service)| (name, of(&service.workload))).collect();
    // Services often run the same image or program with different arguments.
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
        // A configuration of a single service does not name it.
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
    let show = |value: Option<&Value>| value.map(|value| if is_secret { Value::from("…") } else { value.clone() });
    changes.push(Change { path: path.to_owned(), before: show(before), after: show(after) });
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
    use crate::command::{self, Requester};
    use crate::deployment::{Cause, Reason};
    use crate::gate::{Gate, GateCommand, GateKind};
    use crate::hook::{Hook, HookRun, Migration};
    use crate::spec::{ApprovalRule, Container, HealthCheck, Process, Resources, Service};
    use crate::strategy::{Canary, CanaryStep, Choose, Strategy};
    use crate::{Placement, Timestamp};
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
    fn plan_is_unchanged_when_same_release_is_live() {
        let app = live(spec());
        assert!(Plan::new(Some(&app), &spec(), Some(Artifacts::only("sha256:1")), &[]).is_unchanged);
        assert!(!Plan::new(Some(&app), &spec(), Some(Artifacts::only("sha256:2")), &[]).is_unchanged);
        assert!(!Plan::new(Some(&app), &spec(), None, &[]).is_unchanged, "unknown artifacts may be different ones");
        assert!(!Plan::new(None, &spec(), Some(Artifacts::only("sha256:1")), &[]).is_unchanged);
    }

    #[test]
    fn plan_lists_changes_by_path_without_values_of_variables() {
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

    #[test]
    fn plan_lists_all_steps_in_order() {
        let run = || HookRun::Command(GateCommand { command: vec!["/bin/true".into()], user: None });
        let hook =
            |name: &str, at, migration| Hook { name: name.into(), at, run: run(), timeout: Millis(1), migration };
        let kind = GateKind::Command(GateCommand { command: vec!["/bin/true".into()], user: None });
        let step = |weight, pause| CanaryStep { weight, pause };
        let steps = vec![step(5, Some(Millis::from_secs(60))), step(50, None)];
        let mut spec = Spec {
            hooks: vec![
                hook("done", HookPoint::AfterSuccess, None),
                hook("over", HookPoint::AfterCutover, None),
                hook("columns", HookPoint::Held, Some(Migration::default())),
                hook("warm", HookPoint::BeforeCutover, None),
                hook("space", HookPoint::BeforeStart, None),
            ],
            gates: vec![Gate { name: "smoke".into(), kind, timeout: Millis(1), retries: 0, parallel: false }],
            approval: Some(ApprovalRule { people: 2, by_others: false, expires: Millis(1) }),
            strategy: Strategy::Canary(Canary { steps, choose: Choose::Random, expires: Millis(1) }),
            ..spec()
        };
        let first = Plan::new(None, &spec, None, &[]).steps;
        let around = |steps: &[String]| steps.iter().filter(|s| s.contains("canary") || s.contains("keep")).count();
        assert_eq!(around(&first), 0, "a first release has no old slot: {first:?}");
        spec.timing.park = false;
        let next = Plan::new(Some(&live(spec.clone())), &spec, None, &[]).steps;
        let expected = [
            "fetch shop:1",
            "hook space",
            "start 1 instance beside what runs",
            "check /up until 1 passed",
            "gate smoke",
            "approval by 2",
            "hook warm",
            "migration columns, with requests held",
            "canary 5 % for 1m00s",
            "canary 50 % until promoted",
            "the cutover",
            "hook over",
            "observe for 10 s",
            "hook done",
            "keep the old release running for 10m00s",
        ];
        assert_eq!(next, expected);
    }

    #[test]
    fn plan_names_several_services_and_lists_shared_image_once() {
        let mut spec = spec();
        let process = Process { command: vec!["/bin/shop".into(), "-v".into()], directory: "/".into(), user: None };
        let health = HealthCheck { path: None, ..HealthCheck::default() };
        let worker = Service { replicas: 2, health, ..Service::new(Workload::Process(process.clone()), 0) };
        spec.services.insert("worker".parse().unwrap(), worker);
        assert_eq!(source(&spec), "web shop:1, worker /bin/shop -v");
        let steps = Plan::new(None, &spec, None, &[]).steps;
        let expected = [
            "copy /bin/shop",
            "fetch shop:1",
            "start 1 instance of web beside what runs",
            "start 2 instances of worker beside what runs",
            "check /up of web until 1 passed",
            "wait until it has run for 1 s of worker",
        ];
        assert_eq!(steps[..6], expected);
        let same = spec.services.values_mut().map(|service| service.workload = Workload::Process(process.clone()));
        same.for_each(drop);
        assert_eq!(source(&spec), "/bin/shop -v");
        assert_eq!(Plan::new(None, &spec, None, &[]).steps[0], "copy /bin/shop");
        assert!(Plan::new(None, &spec, None, &[]).steps[1].starts_with("start"));
    }

    #[test]
    fn prediction_is_median_of_successful_deployments() {
        let by = Requester { name: "x".into(), at: Timestamp(0), secret: String::new() };
        let past = |cutover: u64, whole: u64, outcome: Outcome| {
            let mut app = Application::new("shop/production".parse().unwrap());
            let mut past = command::deploy(&mut app, Arc::new(spec()), Vec::new(), true, &by).unwrap().deployment;
            past.enter(Phase::Preparing, Timestamp(1_000));
            past.enter(Phase::Shifting, Timestamp(1_000 + cutover));
            past.receipt.cutover_at = Some(Timestamp(1_000 + cutover));
            past.enter(Phase::Ended(outcome), Timestamp(1_000 + whole));
            past
        };
        let succeeded = || Outcome::Succeeded { warning: None };
        let failed = Outcome::Failed(Reason::new(Cause::Start, "no"));
        let history =
            [past(30, 300, succeeded()), past(1, 2, failed), past(10, 100, succeeded()), past(20, 900, succeeded())];
        let predicted = Plan::new(None, &spec(), None, &history).predicted;
        assert_eq!(predicted, Some(Prediction { cutover: Millis(20), whole: Millis(300), deployments: 3 }));
        assert_eq!(Plan::new(None, &spec(), None, &history[1..2]).predicted, None);
    }

    #[test]
    fn plan_memory_saturates_at_largest_number() {
        let mut spec = spec();
        let large = Resources { memory_bytes: Some(u64::MAX / 2), cpu_millis: None };
        spec.services.get_mut("web").unwrap().resources = large;
        for name in ["a", "b"] {
            let service = spec.services.get("web").unwrap().clone();
            spec.services.insert(name.parse().unwrap(), service);
        }
        let route = r#"{"host": "shop.test"}"#;
        spec.routes.push(serde_json::from_str(route).unwrap());
        assert_eq!(spec.validate(), Ok(()));
        let plan = |spec: &Spec| Plan::new(None, spec, None, &[]);
        assert_eq!(plan(&spec).memory_bytes, Some(u64::MAX));
        assert_eq!(plan(&spec).disk_bytes, 3 * (30 << 20));
        spec.services.get_mut("a").unwrap().resources.memory_bytes = None;
        assert_eq!(plan(&spec).memory_bytes, None, "a service without a limit leaves the sum unlimited");
    }
}
