//! The rules of a [`Spec`] beyond its types: bounds, and fields that must fit each other. The client applies them to
//! `gapless.toml`, the server to everything that arrives over the API.

mod service;

use crate::gate::{Gate, GateKind};
use crate::hook::{HookPoint, HookRun};
use crate::image::check_image;
use crate::spec::{Service, Workload};
use crate::strategy::{Choose, Matcher};
use crate::{Millis, Spec};
pub use service::is_variable_name;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

/// The largest number of instances of a slot, over all services.
pub const REPLICAS_MAX: u16 = 64;

/// The largest number of services of an application.
pub const SERVICES_MAX: usize = 16;

/// The largest number of routes of an application.
pub const ROUTES_MAX: usize = 256;

/// The largest number of gates of an application.
pub const GATES_MAX: usize = 32;

/// The largest number of steps of a canary.
pub const STEPS_MAX: usize = 100;

/// The largest number of hosts of an application: each is an entry of the store, and all change in one transaction.
pub const HOSTS_MAX: usize = 50;

/// The largest error page, in bytes: every data plane keeps it in memory.
pub const ERROR_PAGE_BYTES_MAX: usize = 64 << 10;

/// The largest value of a variable in bytes; Linux starts no program with a longer one.
pub const VARIABLE_BYTES_MAX: usize = 127 << 10;

/// The largest total size of the names and values of all variables, in bytes: a spec is one record of the store.
pub const VARIABLES_BYTES_MAX: usize = 256 << 10;

const SECOND: Millis = Millis(1_000);
const MINUTE: Millis = Millis(60_000);
const HOUR: Millis = Millis(3_600_000);
const DAY: Millis = Millis(86_400_000);

/// A broken rule of a spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {message}")]
pub struct SpecError {
    /// The path of the field in the spec's JSON form, such as `health.path` or `routes[1]`.
    pub field: String,
    /// The broken rule and the allowed values, as the rest of a sentence that begins with the field.
    pub message: String,
}

impl Spec {
    /// Checks all rules that the types do not enforce.
    ///
    /// # Errors
    /// All broken rules.
    pub fn validate(&self) -> Result<(), Vec<SpecError>> {
        let mut found = Findings::default();
        if self.requires.contains(&self.env) {
            found.add("requires", format!("leads back to {}, which would wait for itself", self.env));
        }
        service::check_services(self, &mut found);
        check_routes(self, &mut found);
        check_forward(self, &mut found);
        check_gates(&self.gates, &mut found);
        if let Some(rule) = &self.approval {
            found.within("approval.people", rule.people, 1..=100);
            found.within("approval.expires", rule.expires, SECOND..=Millis(30 * DAY.0));
        }
        check_hooks(self, &mut found);
        check_strategy(self, &mut found);
        check_timing(self, &mut found);
        if found.0.is_empty() { Ok(()) } else { Err(found.0) }
    }
}

#[derive(Default)]
struct Findings(Vec<SpecError>);

impl Findings {
    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(SpecError { field: field.into(), message: message.into() });
    }

    fn within<T: PartialOrd + Display>(&mut self, field: &str, value: T, bounds: RangeInclusive<T>) {
        if !bounds.contains(&value) {
            self.add(field, format!("must be from {} to {}, not {value}", bounds.start(), bounds.end()));
        }
    }

    /// Checks a text for an argument list, an environment or a file of the engine's: `\0` would end it early.
    fn text(&mut self, field: &str, text: &str) {
        if text.contains('\0') {
            self.add(field, "contains a NUL character");
        }
    }

    /// Checks a text that must be one word on one line wherever it is shown or passed on.
    fn word(&mut self, field: &str, text: &str) {
        if text.is_empty() {
            self.add(field, "is empty");
        } else if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            self.add(field, format!("{text:?} contains white space or control characters"));
        }
    }

    fn absolute(&mut self, field: &str, path: &str) {
        if !path.starts_with('/') {
            self.add(field, format!("{path:?} is not an absolute path"));
        } else if path.chars().any(char::is_control) {
            self.add(field, format!("{path:?} contains control characters"));
        } else if path.split('/').any(|part| part == "..") {
            self.add(field, format!("{path:?} contains `..`"));
        }
    }
}

fn check_routes(spec: &Spec, found: &mut Findings) {
    if spec.routes.is_empty() && spec.services.values().any(|service| service.health.path.is_some()) {
        found.add("routes", "is empty: no request would ever reach the application");
    }
    if spec.routes.len() > ROUTES_MAX {
        found.add("routes", format!("has {} entries; the limit is {ROUTES_MAX}", spec.routes.len()));
    }
    let hosts = spec.hosts().len();
    if hosts > HOSTS_MAX {
        found.add(
            "routes",
            format!("has {hosts} hosts; the limit is {HOSTS_MAX}: use a wildcard, or another application"),
        );
    }
    let mut seen = BTreeSet::new();
    for (at, route) in spec.routes.iter().enumerate() {
        if !seen.insert((&route.host, &route.path)) {
            found.add(
                format!("routes[{at}]"),
                format!("repeats the host {} and the path {} of an earlier route", route.host, route.path),
            );
        }
        match spec.services.get(&route.service) {
            None => {
                found.add(format!("routes[{at}].service"), format!("is {}, which no service is called", route.service))
            }
            Some(Service { workload: Workload::Docker(_), port: 0, health, .. }) if health.path.is_none() => found.add(
                format!("services.{}.port", route.service),
                "is missing: requests are routed to this service, so it must listen on a port",
            ),
            Some(_) => {}
        }
    }
}

fn check_gates(gates: &[Gate], found: &mut Findings) {
    if gates.len() > GATES_MAX {
        found.add("gates", format!("has {} entries; the limit is {GATES_MAX}", gates.len()));
    }
    let mut names = BTreeSet::new();
    for (at, gate) in gates.iter().enumerate() {
        let field = |name: &str| format!("gates[{at}].{name}");
        if gate.name.parse::<crate::AppName>().is_err() {
            found.add(field("name"), "may only contain lower-case letters a-z, digits and hyphens");
        }
        if !names.insert(&gate.name) {
            found.add(field("name"), format!("is already the name of an earlier gate: {}", gate.name));
        }
        found.within(&field("timeout"), gate.timeout, SECOND..=DAY);
        found.within(&field("retries"), gate.retries, 0..=10);
        match &gate.kind {
            GateKind::Command(command) => {
                if command.command.first().is_none_or(|program| !program.starts_with('/')) {
                    found.add(field("command"), "does not begin with a program's absolute path");
                }
            }
            GateKind::Container(container) => {
                if let Err(why) = check_image(&container.image) {
                    found.add(field("image"), why);
                }
            }
            GateKind::Http(requests) => {
                if requests.is_empty() {
                    found.add(field("requests"), "is empty: the gate would test nothing");
                }
                for request in requests {
                    check_request(&field("requests"), &request.method, &request.path, found);
                }
            }
            GateKind::Load(load) => {
                found.within(&field("load.connections"), load.connections, 1..=1000);
                found.within(&field("load.duration"), load.duration, SECOND..=HOUR);
                found.within(&field("load.rate"), load.rate_per_s, 0..=100_000);
                if load.duration >= gate.timeout {
                    found.add(field("timeout"), "must be longer than the load lasts");
                }
                if load.requests.is_empty() {
                    found.add(field("load.requests"), "is empty: the gate would test nothing");
                }
                for request in &load.requests {
                    check_request(&field("load.requests"), &request.method, &request.path, found);
                }
            }
        }
    }
}

fn check_request(field: &str, method: &str, path: &str, found: &mut Findings) {
    if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        found.add(field, format!("has the method {method:?}, which must be in capitals, such as GET"));
    }
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        found.add(field, format!("has the path {path:?}, which must begin with a slash and contain no blanks"));
    }
}

fn check_forward(spec: &Spec, found: &mut Findings) {
    let forward = &spec.forward;
    found.within("forward.connect_timeout", forward.connect_timeout, Millis(1)..=MINUTE);
    found.within("forward.first_byte_timeout", forward.first_byte_timeout, Millis(1)..=DAY);
    found.within("forward.idle_body_timeout", forward.idle_body_timeout, Millis(1)..=DAY);
    found.within("forward.retry_after_s", forward.retry_after_s, 0..=86_400);
    if let Some(page) = &forward.error_page
        && page.len() > ERROR_PAGE_BYTES_MAX
    {
        found.add("forward.error_page", format!("has {} bytes; the limit is {ERROR_PAGE_BYTES_MAX}", page.len()));
    }
}

fn check_hooks(spec: &Spec, found: &mut Findings) {
    if spec.hooks.len() > GATES_MAX {
        found.add("hooks", format!("has {} entries; the limit is {GATES_MAX}", spec.hooks.len()));
    }
    let hold = &spec.hold;
    found.within("hold.timeout", hold.timeout, SECOND..=HOUR);
    found.within("hold.drain", hold.drain, Millis(0)..=hold.timeout);
    found.within("hold.requests_max", hold.requests_max, 1..=1_000_000);
    found.within("hold.bytes_max", hold.bytes_max, 1..=1 << 40);
    let mut names: BTreeSet<&str> = spec.gates.iter().map(|gate| gate.name.as_str()).collect();
    for (at, hook) in spec.hooks.iter().enumerate() {
        let field = |name: &str| format!("hooks[{at}].{name}");
        if hook.name.parse::<crate::AppName>().is_err() {
            found.add(field("name"), "may only contain lower-case letters a-z, digits and hyphens");
        }
        if !names.insert(&hook.name) {
            found.add(
                field("name"),
                format!("is already the name of an earlier gate, hook or migration: {}", hook.name),
            );
        }
        found.within(&field("timeout"), hook.timeout, SECOND..=DAY);
        if hook.at == HookPoint::Held {
            if hook.timeout > hold.timeout {
                let limit = hold.timeout;
                found.add(
                    field("timeout"),
                    format!("must not exceed the longest hold of requests, {limit} (hold.timeout)"),
                );
            }
            if spec.strategy.canary().is_some() {
                found.add(
                    field("at"),
                    "needs the strategy blue-green: in a canary both releases serve at the same time",
                );
            }
        }
        let back = hook.migration.as_ref().and_then(|migration| migration.back.as_ref());
        for run in std::iter::once(&hook.run).chain(back) {
            match run {
                HookRun::Command(command) => {
                    if command.command.first().is_none_or(|program| !program.starts_with('/')) {
                        found.add(field("command"), "does not begin with a program's absolute path");
                    }
                }
                HookRun::Container(container) => {
                    if let Err(why) = check_image(&container.image) {
                        found.add(field("image"), why);
                    }
                }
            }
        }
    }
}

fn check_strategy(spec: &Spec, found: &mut Findings) {
    let judge = &spec.judge;
    let percent = |ten_thousandths: u16| f64::from(ten_thousandths) / 100.0;
    found.within("judge.false_alarms", percent(judge.false_alarms), 0.0..=50.0);
    found.within("judge.slower_percent", judge.slower_percent, 0..=10_000);
    found.within("judge.slower_by", judge.slower_by, Millis(0)..=HOUR);
    found.within("judge.requests_min", judge.requests_min, 1..=1_000_000);
    let Some(canary) = spec.strategy.canary() else { return };
    found.within("strategy.expires", canary.expires, SECOND..=Millis(30 * DAY.0));
    if canary.steps.is_empty() {
        found.add("strategy.steps", "is empty; a canary has at least one step");
    }
    found.within("strategy.steps", canary.steps.len(), 0..=STEPS_MAX);
    let is_matched = matches!(canary.choose, Choose::Match(_));
    let mut before = 0;
    for (at, step) in canary.steps.iter().enumerate() {
        let field = |name: &str| format!("strategy.steps[{at}].{name}");
        found.within(&field("weight"), step.weight, 1..=99);
        if step.weight <= before && !is_matched {
            found.add(field("weight"), format!("is {} %; it must exceed the weight of the step before", step.weight));
        }
        before = step.weight;
        if let Some(pause) = step.pause {
            found.within(&field("pause"), pause, SECOND..=Millis(30 * DAY.0));
        }
    }
    let header = |field: &str, name: &str, found: &mut Findings| {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            found.add(field, format!("{name:?} is not the name of a header"));
        }
    };
    match &canary.choose {
        Choose::Random | Choose::Sticky => {}
        Choose::Hash { header: name } => header("strategy.header", name, found),
        Choose::Match(matchers) => {
            if matchers.is_empty() {
                found.add("strategy.match", "is empty: no request would go to the new release");
            }
            for (at, matcher) in matchers.iter().enumerate() {
                let field = |name: &str| format!("strategy.match[{at}].{name}");
                match matcher {
                    Matcher::Header { name, value } => {
                        header(&field("header"), name, found);
                        found.word(&field("value"), value);
                    }
                    Matcher::Cookie { name, value } => {
                        header(&field("cookie"), name, found);
                        found.word(&field("value"), value);
                    }
                    Matcher::Path(_) => {}
                }
            }
        }
    }
}

fn check_timing(spec: &Spec, found: &mut Findings) {
    let timing = &spec.timing;
    found.within("timing.prepare_timeout", timing.prepare_timeout, SECOND..=DAY);
    found.within("timing.start_timeout", timing.start_timeout, SECOND..=HOUR);
    found.within("timing.shift_timeout", timing.shift_timeout, SECOND..=HOUR);
    found.within("timing.observe", timing.observe, Millis(0)..=DAY);
    found.within("timing.drain_timeout", timing.drain_timeout, Millis(0)..=DAY);
    found.within("timing.stop_timeout", timing.stop_timeout, Millis(0)..=HOUR);
    found.within("timing.keep", timing.keep, 1..=100);
    found.within("timing.keep_warm", timing.keep_warm, Millis(0)..=Millis(30 * 86_400_000));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{HostPorts, Process, Volume};
    use crate::{HostPattern, PathPrefix, ServiceName, spec::Route};

    fn spec() -> Spec {
        let json = r#"{"app":"shop","services":{"web":{"workload":{"docker":{"image":"shop:1"}},"port":3000,
            "replicas":1}},"routes":[{"host":"*"}]}"#;
        serde_json::from_str(json).unwrap()
    }

    fn web(spec: &mut Spec) -> &mut Service {
        spec.services.get_mut("web").unwrap()
    }

    fn errors(change: impl FnOnce(&mut Spec)) -> String {
        let mut spec = spec();
        change(&mut spec);
        match spec.validate() {
            Ok(()) => String::new(),
            Err(errors) => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        }
    }

    #[test]
    fn validate_accepts_defaults() {
        assert_eq!(errors(|_| {}), "");
    }

    #[test]
    fn validate_reports_bounds() {
        let text = errors(|spec| web(spec).replicas = 65);
        assert_eq!(text, "services.web.replicas must be from 1 to 64, not 65");
        assert_eq!(
            errors(|spec| spec.timing.keep_warm = Millis(u64::MAX)).split(',').next(),
            Some("timing.keep_warm must be from 0 ms to 720h00m")
        );
    }

    #[test]
    fn validate_reports_all_problems_together() {
        let text = errors(|spec| {
            let web = web(spec);
            web.port = 0;
            web.replicas = 2;
            web.host_ports = Some(HostPorts { blue: 9001, green: 9001 });
            web.health.path = Some("up".to_owned());
            web.variables.insert("GAPLESS_SLOT".to_owned(), "blue".to_owned());
            web.variables.insert("1A".to_owned(), "\0".to_owned());
        });
        assert_eq!(text.lines().count(), 7, "{text}");
    }

    #[test]
    fn validate_rejects_hostile_paths() {
        for path in ["data", "/", "//", "/a/../b", "/a\n", "/a:b", ""] {
            let volume = Volume { source: "data".to_owned(), path: path.to_owned(), read_only: false };
            let text = errors(|spec| {
                let Workload::Docker(container) = &mut web(spec).workload else { return };
                container.volumes.push(volume);
            });
            assert!(text.starts_with("services.web.workload.docker.volumes[0]"), "{path:?}: {text}");
        }
    }

    #[test]
    fn validate_rejects_repeated_route() {
        let route = Route {
            host: HostPattern::any(),
            path: PathPrefix::default(),
            strip: false,
            service: ServiceName::default(),
        };
        assert!(errors(|spec| spec.routes.push(route)).starts_with("routes[1] repeats the host * and the path /"));
    }

    #[test]
    fn validate_checks_services_against_each_other_and_routes() {
        let text = errors(|spec| {
            let worker = web(spec).clone();
            spec.services.insert("worker".parse().unwrap(), Service { port: 0, replicas: 64, ..worker });
            spec.routes[0].service = "none".parse().unwrap();
        });
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "services.worker.port must be from 1 to 65535: the port that the service listens on in its container",
                "services have 65 instances together; the limit is 64",
                "routes[0].service is none, which no service is called",
            ]
        );
        let text = errors(|spec| {
            let process = Process { command: vec!["/bin/true".to_owned()], directory: "/".to_owned(), user: None };
            let mut worker = Service::new(Workload::Process(process), 0);
            worker.health.path = None;
            spec.services.insert("worker".parse().unwrap(), worker);
        });
        assert_eq!(text, "services use docker and process; all services of an application must use the same runtime");
    }

    #[test]
    fn validate_accepts_service_without_requests_and_routes() {
        let only_worker = |spec: &mut Spec| {
            spec.routes.clear();
            (web(spec).port, web(spec).health.path) = (0, None);
        };
        assert_eq!(errors(only_worker), "");
        assert!(errors(|spec| spec.routes.clear()).starts_with("routes is empty"));
    }
}
