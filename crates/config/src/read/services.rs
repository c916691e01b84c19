//! Reads the services: the file itself if it describes one service, else each table of `[services]`, which inherits from
//! the file.

use super::{Reading, requests};
use crate::keys::workload::{self, host_ports, log, resources};
use crate::keys::{Key, file, health, service};
use crate::problem::Problem;
use crate::section::Section;
use gapless_core::ServiceName;
use gapless_core::spec::Route;
use gapless_core::spec::{HealthCheck, HostPorts, LogRotation, Resources, Service, Workload};
use gapless_core::validate::is_variable_name;
use std::collections::BTreeMap;
use toml::de::DeValue;

/// The keys that route requests to a service.
const ROUTING: [&Key; 3] = [&service::PATH, &workload::HOSTS, &workload::ROUTES];

/// The services, their routes, and the path in the file of each route.
type Services = (Option<BTreeMap<ServiceName, Service>>, Vec<Route>, Vec<String>);

impl Reading<'_> {
    pub(super) fn services(&self, root: &Section<'_>) -> Services {
        self.check_given_images(root);
        let Some(table) = root.table(&file::SERVICES) else {
            let (routes, origins) = self.routes(root, &ServiceName::default());
            let service = self.service(root, &ServiceName::default(), true);
            return (service.map(|service| BTreeMap::from([(ServiceName::default(), service)])), routes, origins);
        };
        workload::KEYS.iter().for_each(|key| root.note(key));
        // The services read both keys; here their places are recorded.
        root.value(&workload::HOSTS);
        if root.value(&workload::ROUTES).is_some() {
            let path = root.path(&workload::ROUTES);
            let message = format!("`{path}` names no service; give each service a `path` or `routes` of its own");
            self.report.at_path(&path, message, "here");
        }
        let spans: BTreeMap<_, _> = table.entries().map(|(key, _)| (key.get_ref().to_string(), key.span())).collect();
        let (mut services, mut routes, mut origins) = (Some(BTreeMap::new()), Vec::new(), Vec::new());
        for (name, span) in spans {
            let parsed = table.accept(span, &table.path(&name), name.parse::<ServiceName>());
            let (Some(parsed), Some(section)) = (parsed, root.heir(&file::SERVICES, &name)) else {
                services = None;
                continue;
            };
            let is_routed = ROUTING.iter().any(|key| section.has_own(key));
            if is_routed {
                let (its, from) = self.routes(&section, &parsed);
                routes.extend(its);
                origins.extend(from);
            }
            match (self.service(&section, &parsed, is_routed), &mut services) {
                (Some(service), Some(services)) => drop(services.insert(parsed, service)),
                (Some(_), None) => {}
                (None, _) => services = None,
            }
            section.finish();
        }
        self.report_duplicates(&routes, &origins);
        if routes.is_empty() && root.has(&workload::HOSTS) {
            let path = root.path(&workload::HOSTS);
            let message = format!("`{path}` leads to no service; give one of them `path = \"/\"`");
            self.report.at_path(&path, message, "here");
        }
        (services, routes, origins)
    }

    /// Reports images that were given for unknown services.
    fn check_given_images(&self, root: &Section<'_>) {
        for name in self.options.images.keys() {
            if root.heir(&file::SERVICES, name.as_str()).is_none() {
                let help = "leave out the name in `--image`, or add the service to the file".to_owned();
                let message =
                    format!("an image was given for the service {name}, and the file has no [services.{name}]");
                self.report.add(Problem::nowhere(message).help(Some(help)));
            }
        }
    }

    /// Reads one service. A service that requests come to (`is_routed`) listens on a port; any other service only if it has
    /// a port, or a path or port of a health check, of its own.
    fn service(&self, section: &Section<'_>, name: &ServiceName, is_routed: bool) -> Option<Service> {
        let workload = self.workload(section, name);
        let own_health = section.own_table(&workload::HEALTH);
        let asks = own_health.as_ref().is_some_and(|own| own.has(&health::PATH) || own.has(&health::PORT));
        let listens = is_routed || section.has_own(&workload::PORT) || asks;
        let port = if listens { section.number::<u16>(&workload::PORT) } else { None };
        let has_port = listens && section.has(&workload::PORT);
        section.note(&workload::PORT);
        if listens && !has_port && matches!(workload, Some(Workload::Docker(_))) {
            section.missing(
                &workload::PORT,
                "the port that the application listens on in its container, such as `port = 3000`",
            );
        }
        let health = if listens { section.table(&workload::HEALTH) } else { own_health };
        let health = health.map_or_else(|| default_health(listens), |table| self.health(table, listens));
        let replicas = section.number(&workload::REPLICAS).unwrap_or(workload::REPLICAS_DEFAULT);
        let mut variables = self.variables(section);
        let secrets = self.secrets(section);
        variables.extend(secrets.clone());
        let secrets = secrets.into_keys().collect();
        let resources = section.table(&workload::RESOURCES).map(resources).unwrap_or_default();
        let log = section.table(&workload::LOG).map(log).unwrap_or_default();
        let host_ports = section.table(&workload::HOST_PORTS).and_then(host_ports);
        // 0 is the port of a process, which gets a free port at its start, and of a service that listens on no port.
        let port = if has_port { port? } else { 0 };
        Some(Service { workload: workload?, port, replicas, variables, secrets, resources, log, host_ports, health })
    }

    fn health(&self, table: Section<'_>, listens: bool) -> HealthCheck {
        let default = default_health(listens);
        // Without values of their own, the times of a check are at most the deadline.
        let deadline = table.duration(&health::DEADLINE).unwrap_or(default.deadline);
        let health = HealthCheck {
            path: table.text(&health::PATH).map(|path| path.value).or(default.path),
            settle: table.duration(&health::SETTLE).unwrap_or(default.settle.min(deadline)),
            port: table.number(&health::PORT),
            statuses: requests::statuses(&table).unwrap_or(default.statuses),
            host: table.text(&health::HOST).map(|host| host.value),
            interval: table.duration(&health::INTERVAL).unwrap_or(default.interval.min(deadline)),
            timeout: table.duration(&health::TIMEOUT).unwrap_or(default.timeout.min(deadline)),
            passes: table.number(&health::PASSES).unwrap_or(default.passes),
            failures: table.number(&health::FAILURES).unwrap_or(default.failures),
            deadline,
        };
        table.finish();
        health
    }

    /// Reads the variables whose values are never shown.
    fn secrets(&self, root: &Section<'_>) -> BTreeMap<String, String> {
        let mut secrets = BTreeMap::new();
        for (at, name) in root.texts(&workload::SECRETS).unwrap_or_default().into_iter().enumerate() {
            let path = format!("{}[{at}]", root.path(&workload::SECRETS));
            if !is_variable_name(&name.value) {
                let message =
                    format!("`{path}` is not a variable name: letters, digits and `_`, not beginning with a digit");
                self.report.at(name.span, message, "here", None);
                continue;
            }
            match self.options.secrets.get(&name.value) {
                Some(value) => drop(secrets.insert(name.value, value)),
                None => {
                    let message = format!("`{path}`: {} is not set in the environment of this command", name.value);
                    let help = format!("set it there: `export {}`, or as a secret variable of your CI", name.value);
                    self.report.at(name.span, message, "no value", Some(help));
                }
            }
        }
        secrets
    }

    /// Reads the variables of `env_files`, then of `[env]`, then those of the command line; later values override earlier
    /// values.
    fn variables(&self, root: &Section<'_>) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::new();
        for file in root.texts(&workload::ENV_FILES).unwrap_or_default() {
            variables.extend(self.env_file(&file));
        }
        if let Some(table) = root.table(&workload::ENV) {
            for (key, value) in table.entries() {
                let name: &str = key.get_ref();
                let path = table.path(name);
                self.report.record_span(path.clone(), value.span());
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
                    _ => table.wrong_type(value, &path, "a text, a number, or true or false"),
                };
                variables.extend(text.map(|text| (name.to_owned(), text)));
            }
        }
        variables.extend(self.options.variables.clone());
        variables
    }
}

/// The health check of a service without `[health]`.
fn default_health(listens: bool) -> HealthCheck {
    let default = HealthCheck::default();
    HealthCheck { path: default.path.filter(|_| listens), ..default }
}

fn resources(table: Section<'_>) -> Resources {
    let resources =
        Resources { memory_bytes: table.size(&resources::MEMORY), cpu_millis: table.cpus(&resources::CPUS) };
    table.finish();
    resources
}

fn log(table: Section<'_>) -> LogRotation {
    let default = LogRotation::default();
    let log = LogRotation {
        file_bytes: table.size(&log::MAX_SIZE).unwrap_or(default.file_bytes),
        file_count: table.number(&log::MAX_FILES).unwrap_or(default.file_count),
    };
    table.finish();
    log
}

fn host_ports(table: Section<'_>) -> Option<HostPorts> {
    for key in [&host_ports::BLUE, &host_ports::GREEN] {
        if !table.has(key) {
            table.missing(key, "each slot needs a port of its own, such as `blue = 9001` and `green = 9002`");
        }
    }
    let (blue, green) = (table.number(&host_ports::BLUE), table.number(&host_ports::GREEN));
    table.finish();
    Some(HostPorts { blue: blue?, green: green? })
}
