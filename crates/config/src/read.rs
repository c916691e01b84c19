//! What each table of the file means: from its values to the spec.

mod environments;
mod files;
mod gates;
mod hooks;
mod requests;
mod strategy;
mod workload;

use crate::load::LoadOptions;
use crate::report::Report;
use crate::section::Section;
use gapless_core::spec::{ForwardSettings, HealthCheck, HostPorts, LogRotation, Resources, Timing, Workload};
use gapless_core::strategy::Strategy;
use gapless_core::validate::is_variable_name;
use gapless_core::{AppName, EnvName, Spec};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use toml::de::DeValue;

/// One reading of one file.
pub(crate) struct Reading<'a> {
    report: &'a Report,
    /// The folder that paths are relative to, absolute.
    base: PathBuf,
    options: &'a LoadOptions,
    /// The other files that were read on the way.
    files: RefCell<Vec<PathBuf>>,
    /// The environments that the file has tables for.
    environments: RefCell<Vec<EnvName>>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(report: &'a Report, base: PathBuf, options: &'a LoadOptions) -> Self {
        Reading { report, base, options, files: RefCell::default(), environments: RefCell::default() }
    }

    /// The other files that were read, and the environments that the file has tables for.
    pub(crate) fn into_parts(self) -> (Vec<PathBuf>, Vec<EnvName>) {
        (self.files.into_inner(), self.environments.into_inner())
    }

    /// The whole file: the spec, and from where in the file each of its routes came.
    pub(crate) fn spec(&self, root: Section<'_>) -> Option<(Spec, Vec<String>)> {
        let (root, env) = self.in_environment(root)?;
        root.noted("environments");
        let app = self.app(&root);
        let requires = self.requires(&root);
        let promote_auto = self.promote(&root, &requires);
        let workload = self.workload(&root);
        let port = root.number::<u16>("port");
        let replicas = root.number::<u16>("replicas").unwrap_or(1);
        let (routes, origins) = self.routes(&root);
        let variables = self.variables(&root);
        let resources = root.table("resources").map(resources).unwrap_or_default();
        let log = root.table("log").map(log).unwrap_or_default();
        let host_ports = root.table("host_ports").and_then(host_ports);
        let health = root.table("health").map(|table| self.health(table)).unwrap_or_default();
        let forward = root.table("proxy").map(|table| self.forward(table)).unwrap_or_default();
        let maintenance_page = root.table("maintenance").and_then(|table| self.maintenance(table));
        let forward = ForwardSettings { maintenance_page, ..forward };
        let hooks = self.hooks(&root);
        let hold = root.table("hold").map(hooks::hold).unwrap_or_default();
        let timing = root.table("deploy").map(timing).unwrap_or_default();
        let gates = self.gates(&root);
        let approval = root.table("approval").and_then(|table| self.approval(table));
        let strategy = match root.table("strategy") {
            Some(table) => self.strategy(table),
            None => Some(Strategy::BlueGreen),
        };
        let judge = root.table("judge").map(strategy::judge).unwrap_or_default();
        let has_port = root.has("port");
        if !has_port && matches!(workload, Some(Workload::Docker(_))) {
            root.missing("port", "the port that the application listens on in its container, such as `port = 3000`");
        }
        root.finish();
        let spec = Spec {
            app: app?,
            env,
            requires,
            promote_auto,
            workload: workload?,
            // 0 is that of a process, whose port is picked when it is started.
            port: if has_port { port? } else { 0 },
            replicas,
            variables,
            resources,
            log,
            host_ports,
            health,
            routes,
            forward,
            gates,
            approval,
            hooks,
            hold,
            strategy: strategy?,
            judge,
            timing,
        };
        Some((spec, origins))
    }

    fn app(&self, root: &Section<'_>) -> Option<AppName> {
        let Some(name) = root.text("name") else {
            if !root.has("name") {
                root.missing("name", "name the application at the top of the file, such as `name = \"shop\"`");
            }
            return None;
        };
        root.accept(name.span, "name", name.value.parse::<AppName>())
    }

    /// The variables of `env_files`, then those of `[env]`, then those that were given beside the file; later ones go
    /// before earlier ones.
    fn variables(&self, root: &Section<'_>) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::new();
        for file in root.texts("env_files").unwrap_or_default() {
            variables.extend(self.env_file(&file));
        }
        if let Some(table) = root.table("env") {
            for (key, value) in table.entries() {
                let name: &str = key.get_ref();
                let path = table.path(name);
                self.report.place(path.clone(), value.span());
                if !is_variable_name(name) {
                    let message =
                        format!("`{path}` is not a variable name: letters, digits and `_`, not beginning with a digit");
                    self.report.at(key.span(), message, "here", None);
                    continue;
                }
                let text = match value.get_ref() {
                    DeValue::String(text) => Some(text.to_string()),
                    DeValue::Integer(number) => Some(number.to_string()),
                    DeValue::Float(number) => Some(number.to_string()),
                    DeValue::Boolean(is_so) => Some(is_so.to_string()),
                    _ => table.wrong(value, &path, "a text, a number, or true or false"),
                };
                variables.extend(text.map(|text| (name.to_owned(), text)));
            }
        }
        variables.extend(self.options.variables.clone());
        variables
    }
}

fn resources(table: Section<'_>) -> Resources {
    let resources = Resources { memory_bytes: table.size("memory"), cpu_millis: table.cpus("cpus") };
    table.finish();
    resources
}

fn log(table: Section<'_>) -> LogRotation {
    let usual = LogRotation::default();
    let log = LogRotation {
        file_bytes: table.size("max_size").unwrap_or(usual.file_bytes),
        file_count: table.number("max_files").unwrap_or(usual.file_count),
    };
    table.finish();
    log
}

fn host_ports(table: Section<'_>) -> Option<HostPorts> {
    for key in ["blue", "green"] {
        if !table.has(key) {
            table.missing(key, "each slot needs a port of its own, such as `blue = 9001` and `green = 9002`");
        }
    }
    let (blue, green) = (table.number("blue"), table.number("green"));
    table.finish();
    Some(HostPorts { blue: blue?, green: green? })
}

fn timing(table: Section<'_>) -> Timing {
    let usual = Timing::default();
    let timing = Timing {
        prepare_timeout: table.duration("prepare_timeout").unwrap_or(usual.prepare_timeout),
        start_timeout: table.duration("start_timeout").unwrap_or(usual.start_timeout),
        shift_timeout: table.duration("shift_timeout").unwrap_or(usual.shift_timeout),
        observe: table.duration("observe").unwrap_or(usual.observe),
        drain_timeout: table.duration("drain_timeout").unwrap_or(usual.drain_timeout),
        stop_timeout: table.duration("stop_timeout").unwrap_or(usual.stop_timeout),
        keep_warm: table.duration("keep_warm").unwrap_or(usual.keep_warm),
        park: table.boolean("park").unwrap_or(usual.park),
        keep: table.number("keep").unwrap_or(usual.keep),
    };
    table.finish();
    timing
}

impl Reading<'_> {
    fn health(&self, table: Section<'_>) -> HealthCheck {
        let usual = HealthCheck::default();
        let health = HealthCheck {
            path: table.text("path").map_or(usual.path, |path| path.value),
            port: table.number("port"),
            statuses: requests::statuses(&table).unwrap_or(usual.statuses),
            host: table.text("host").map(|host| host.value),
            interval: table.duration("interval").unwrap_or(usual.interval),
            timeout: table.duration("timeout").unwrap_or(usual.timeout),
            passes: table.number("passes").unwrap_or(usual.passes),
            failures: table.number("failures").unwrap_or(usual.failures),
            deadline: table.duration("deadline").unwrap_or(usual.deadline),
        };
        table.finish();
        health
    }

    fn forward(&self, table: Section<'_>) -> ForwardSettings {
        let usual = ForwardSettings::default();
        let retry_after = table.duration("retry_after");
        if let Some(wait) = retry_after
            && !wait.0.is_multiple_of(1000)
        {
            self.report.at_path(&table.path("retry_after"), "`proxy.retry_after` must be in whole seconds", "here");
        }
        let forward = ForwardSettings {
            connect_timeout: table.duration("connect_timeout").unwrap_or(usual.connect_timeout),
            first_byte_timeout: table.duration("response_timeout").unwrap_or(usual.first_byte_timeout),
            idle_body_timeout: table.duration("idle_timeout").unwrap_or(usual.idle_body_timeout),
            trust_forwarded: table.boolean("trust_forwarded").unwrap_or(usual.trust_forwarded),
            retry_after_s: retry_after
                .map_or(usual.retry_after_s, |wait| u32::try_from(wait.0 / 1000).unwrap_or(u32::MAX)),
            error_page: table.text("error_page").and_then(|page| self.page(&page, "the error page")),
            maintenance_page: None,
        };
        table.finish();
        forward
    }
}
