//! The rules of each service of a spec, and of all services together.

use super::{Findings, HOUR, MINUTE, REPLICAS_MAX, SERVICES_MAX, VARIABLE_BYTES_MAX, VARIABLES_BYTES_MAX};
use crate::image::check_image;
use crate::spec::{Container, HealthCheck, Process, Service, Volume, Workload};
use crate::{Millis, Spec};
use std::collections::BTreeSet;

/// The least memory of an instance: Docker rejects less.
const MEMORY_BYTES_MIN: u64 = 6 << 20;

/// Checks each service, with its path in front of each broken rule, and then all services together.
pub(super) fn check_services(spec: &Spec, found: &mut Findings) {
    for (name, service) in &spec.services {
        let mut its = Findings::default();
        check_service(service, &mut its);
        for error in its.0 {
            found.add(format!("services.{name}.{}", error.field), error.message);
        }
    }
    found.within("services", spec.services.len(), 1..=SERVICES_MAX);
    let instances: u32 = spec.services.values().map(|service| u32::from(service.replicas)).sum();
    if spec.services.len() > 1 && instances > u32::from(REPLICAS_MAX) {
        found.add("services", format!("have {instances} instances together; the limit is {REPLICAS_MAX}"));
    }
    let runtimes: BTreeSet<_> = spec.services.values().map(|service| service.workload.runtime()).collect();
    if runtimes.len() > 1 {
        let runtimes = runtimes.into_iter().collect::<Vec<_>>().join(" and ");
        let message = format!("use {runtimes}; all services of an application must use the same runtime");
        found.add("services", message);
    }
    let mut ports = BTreeSet::new();
    for (name, service) in &spec.services {
        let both = service.host_ports.iter().flat_map(|ports| BTreeSet::from([ports.blue, ports.green]));
        for port in both.filter(|port| !ports.insert(*port)) {
            found.add(format!("services.{name}.host_ports"), format!("contains {port}, which another service uses"));
        }
    }
}

fn check_service(service: &Service, found: &mut Findings) {
    found.within("replicas", service.replicas, 1..=REPLICAS_MAX);
    match &service.workload {
        Workload::Docker(container) => {
            if service.port == 0 && service.health.path.is_some() {
                found.add("port", "must be from 1 to 65535: the port that the service listens on in its container");
            }
            check_container(container, found);
        }
        Workload::Process(process) | Workload::Systemd(process) => check_process(process, found),
    }
    check_variables(service, found);
    check_resources(service, found);
    check_host_ports(service, found);
    check_health(&service.health, found);
}

fn check_container(container: &Container, found: &mut Findings) {
    if let Err(message) = check_image(&container.image) {
        found.add("workload.docker.image", message);
    }
    for (field, list) in [("command", &container.command), ("entrypoint", &container.entrypoint)] {
        let field = format!("workload.docker.{field}");
        if let Some(list) = list {
            if list.is_empty() {
                found.add(&field, "is empty; leave it out to use the image's own");
            }
            for (at, argument) in list.iter().enumerate() {
                found.text(&format!("{field}[{at}]"), argument);
            }
        }
    }
    if let Some(user) = &container.user {
        found.word("workload.docker.user", user);
    }
    let mut paths = BTreeSet::new();
    for (at, volume) in container.volumes.iter().enumerate() {
        let field = format!("workload.docker.volumes[{at}]");
        check_volume(volume, &field, found);
        if !paths.insert(volume.path.trim_end_matches('/')) {
            found.add(field, format!("mounts at {:?}, where another volume is mounted already", volume.path));
        }
    }
}

fn check_volume(volume: &Volume, field: &str, found: &mut Findings) {
    let Volume { source, path, read_only: _ } = volume;
    found.absolute(field, path);
    if path.trim_end_matches('/').is_empty() && path.starts_with('/') {
        found.add(field, "mounts over the whole container; name a folder in it");
    }
    // A colon in a path would shift the border between source, path and options.
    if path.contains(':') || source.contains(':') {
        found.add(field, "contains a colon in a path");
    }
    if source.starts_with('/') {
        found.absolute(field, source);
    } else if !is_volume_name(source) {
        found.add(
            field,
            format!("{source:?} is neither an absolute path nor a volume name (letters, digits, `_`, `.`, `-`)"),
        );
    }
}

fn is_volume_name(name: &str) -> bool {
    name.len() >= 2
        && name.len() <= 255
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn check_process(process: &Process, found: &mut Findings) {
    match process.command.first() {
        None => found.add("workload.process.command", "is empty; it is the program and its arguments"),
        Some(program) => found.absolute("workload.process.command[0]", program),
    }
    for (at, argument) in process.command.iter().enumerate() {
        found.text(&format!("workload.process.command[{at}]"), argument);
    }
    found.absolute("workload.process.directory", &process.directory);
    if process.user.is_some() {
        // The retained copy of the program is below the state folder, which only the server's user can read.
        let why = "is for containers only: a process runs as the user of the server, because no other user can read \
                   its program";
        found.add("workload.process.user", why);
    }
}

fn check_variables(service: &Service, found: &mut Findings) {
    let mut bytes = 0;
    for (name, value) in &service.variables {
        let field = format!("variables.{name}");
        if !is_variable_name(name) {
            found.add(&field, "is not a variable name: letters, digits and `_`, not beginning with a digit");
        }
        if name.starts_with("GAPLESS_") {
            found.add(&field, "is set by gapless itself; choose a name without GAPLESS_ in front");
        }
        if name == "PORT" && matches!(service.workload, Workload::Process(_) | Workload::Systemd(_)) {
            found.add(&field, "is set by gapless to the port of each instance; use [host_ports] for fixed ones");
        }
        found.text(&field, value);
        if value.len() > VARIABLE_BYTES_MAX {
            found.add(&field, format!("has {} bytes; the limit is {VARIABLE_BYTES_MAX}", value.len()));
        }
        bytes += name.len() + value.len();
    }
    for name in service.secrets.iter().filter(|name| !service.variables.contains_key(*name)) {
        found.add("secrets", format!("has {name}, which has no value"));
    }
    if bytes > VARIABLES_BYTES_MAX {
        found.add("variables", format!("have {bytes} bytes together; the limit is {VARIABLES_BYTES_MAX}"));
    }
}

/// Checks that `name` can be the name of an environment variable: `[A-Za-z_][A-Za-z0-9_]*`.
#[must_use]
pub fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn check_resources(service: &Service, found: &mut Findings) {
    if let Some(bytes) = service.resources.memory_bytes {
        if bytes < MEMORY_BYTES_MIN {
            found.add("resources.memory_bytes", format!("is {bytes} bytes; the minimum is 6 MiB"));
        } else if i64::try_from(bytes).is_err() {
            found.add("resources.memory_bytes", "is more than any machine has");
        }
    }
    if let Some(millis) = service.resources.cpu_millis {
        let cpus = |millis: u64| millis as f64 / 1000.0;
        found.within("resources.cpu_millis", cpus(millis), cpus(10)..=cpus(1_024_000));
    }
    found.within("log.file_bytes", service.log.file_bytes, 4096..=1 << 40);
    found.within("log.file_count", service.log.file_count, 1..=100);
}

fn check_host_ports(service: &Service, found: &mut Findings) {
    let Some(ports) = service.host_ports else { return };
    if ports.blue == 0 || ports.green == 0 {
        found.add("host_ports", "must be from 1 to 65535");
    }
    if ports.blue == ports.green {
        found.add("host_ports", format!("are both {}; the two slots run at the same time", ports.blue));
    }
    if service.replicas > 1 {
        found.add("host_ports", "needs `replicas = 1`: two instances cannot share a port of the host");
    }
}

fn check_health(health: &HealthCheck, found: &mut Findings) {
    match &health.path {
        Some(path) if !path.starts_with('/') => {
            found.add("health.path", format!("{path:?} does not begin with `/`"));
        }
        Some(path) if path.len() > 1024 || !path.bytes().all(|b| b.is_ascii_graphic() && b != b'#') => {
            found.add("health.path", "is not a path of at most 1024 visible ASCII characters without `#`");
        }
        _ => {}
    }
    found.within("health.settle", health.settle, Millis(0)..=health.deadline);
    if health.port == Some(0) {
        found.add("health.port", "must be from 1 to 65535");
    }
    if health.statuses.is_empty() {
        found.add("health.statuses", "is empty: no instance would ever be healthy");
    }
    if let Some(status) = health.statuses.iter().find(|status| !(200..=599).contains(*status)) {
        found.add("health.statuses", format!("has {status}; a status is from 200 to 599"));
    }
    if let Some(host) = &health.host
        && (host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b)))
    {
        found.add("health.host", format!("{host:?} is not a host name"));
    }
    found.within("health.interval", health.interval, Millis(1)..=MINUTE);
    found.within("health.timeout", health.timeout, Millis(1)..=Millis(300_000));
    found.within("health.deadline", health.deadline, Millis(1)..=HOUR);
    found.within("health.passes", health.passes, 1..=100);
    found.within("health.failures", health.failures, 1..=100);
    for (name, part) in [("interval", health.interval), ("timeout", health.timeout)] {
        if health.deadline < part {
            found.add("health.deadline", format!("is {}, shorter than the {name} of {part}", health.deadline));
        }
    }
}
