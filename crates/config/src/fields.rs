//! The place in the file of a field of the spec, for errors that the rules of the spec find.

/// Prefixes of fields of the spec, and their form in the file; the first match applies.
const NAMES: [(&str, &str); 20] = [
    ("approval", "approval"),
    ("workload.docker.", ""),
    ("workload.process.", ""),
    ("forward.first_byte_timeout", "proxy.response_timeout"),
    ("forward.idle_body_timeout", "proxy.idle_timeout"),
    ("forward.retry_after_s", "proxy.retry_after"),
    ("forward.", "proxy."),
    ("timing.", "deploy."),
    ("resources.memory_bytes", "resources.memory"),
    ("resources.cpu_millis", "resources.cpus"),
    ("log.file_bytes", "log.max_size"),
    ("log.file_count", "log.max_files"),
    ("variables", "env"),
    ("app", "name"),
    ("env", "environment"),
    ("health.", "health."),
    ("host_ports", "host_ports"),
    ("replicas", "replicas"),
    ("port", "port"),
    ("routes", "routes"),
];

/// The path in the file of `field` of the spec. `routes` has the path in the file of each route of the spec;
/// `has_services`: the file has `[services]`.
pub(crate) fn path_in_file(field: &str, routes: &[String], has_services: bool) -> String {
    if let Some(rest) = field.strip_prefix("routes[") {
        let index = rest.split(']').next().and_then(|index| index.parse::<usize>().ok());
        if let Some(origin) = index.and_then(|index| routes.get(index)) {
            return origin.clone();
        }
    }
    if let Some((service, rest)) = field.strip_prefix("services.").and_then(|rest| rest.split_once('.')) {
        let rest = path_in_file(rest, routes, has_services);
        return if has_services { format!("services.{service}.{rest}") } else { rest };
    }
    for (spec, file) in NAMES {
        if let Some(rest) = field.strip_prefix(spec) {
            return format!("{file}{rest}");
        }
    }
    field.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_in_file_has_the_names_of_the_file() {
        let routes = ["hosts[0]".to_owned(), "routes[0]".to_owned()];
        for (field, path) in [
            ("services.web.workload.docker.volumes[2]", "volumes[2]"),
            ("forward.idle_body_timeout", "proxy.idle_timeout"),
            ("forward.connect_timeout", "proxy.connect_timeout"),
            ("timing.observe", "deploy.observe"),
            ("services.web.variables.1A", "env.1A"),
            ("routes[1]", "routes[0]"),
            ("routes", "routes"),
            ("services.web.health.path", "health.path"),
            ("services", "services"),
        ] {
            assert_eq!(path_in_file(field, &routes, false), path);
        }
        assert_eq!(path_in_file("services.api.variables.1A", &routes, true), "services.api.env.1A");
    }
}
