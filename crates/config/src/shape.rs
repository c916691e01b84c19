//! The shape of `gapless.toml` for editors: its JSON Schema. Reading is done by `read`, which tells of all mistakes at
//! once; a test holds the two together.

mod rollout;
mod values;

use gapless_core::validate::REPLICAS_MAX;
use rollout::{
    ApprovalTable, GateTable, HoldTable, HookTable, JudgeTable, MaintenanceTable, MigrationTable, StrategyTable,
};
use schemars::JsonSchema;
use serde_json::Value;
use std::collections::BTreeMap;
use values::{Duration, Environments, Size, Statuses, Variables};

/// The JSON Schema of `gapless.toml`.
#[must_use]
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(File).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".to_owned(), "gapless.toml".into());
    }
    schema
}

/// The table that has a key of that name: empty for the top of the file, nothing where there is none.
pub(crate) fn table_of(key: &str) -> Option<String> {
    let schema = schema();
    let properties = schema.get("properties")?.as_object()?;
    if properties.contains_key(key) {
        return Some(String::new());
    }
    let has_key = |table: &Value| {
        let name = table.get("$ref").or_else(|| table.pointer("/anyOf/0/$ref"))?.as_str()?.strip_prefix("#/$defs/")?;
        schema.pointer(&format!("/$defs/{name}/properties/{key}"))
    };
    properties.iter().find(|(_, table)| has_key(table).is_some()).map(|(name, _)| name.clone())
}

/// What gapless deploys and how.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
struct File {
    /// The application's name: lower-case letters, digits and hyphens, at most 63.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    name: String,
    #[schemars(flatten)]
    workload: WorkloadKeys,
    /// The services that the application is made of, where it is more than one: `[services.api]` has the keys of the
    /// file that say what runs, and inherits those that it does not have. They are deployed together, and reach each
    /// other by name in their slot.
    services: Option<BTreeMap<String, ServiceTable>>,
    /// How requests are forwarded.
    proxy: Option<ProxyTable>,
    /// The deadlines of a deployment.
    deploy: Option<DeployTable>,
    /// What a release must pass between its health checks and its cutover, one after the other.
    gates: Option<Vec<GateTable>>,
    /// That people must approve a release before its cutover.
    approval: Option<ApprovalTable>,
    /// What is done once in each deployment, at a point of it.
    hooks: Option<Vec<HookTable>>,
    /// What has to be changed for a release, such as the schema of its database: done once in each deployment, before
    /// the hooks of the same point. It has to bear being done again by the next deployment.
    migrate: Option<Vec<MigrationTable>>,
    /// How requests are held for a migration with `when = "held"`.
    hold: Option<HoldTable>,
    /// What `gapless maintenance on` answers.
    maintenance: Option<MaintenanceTable>,
    /// How requests come to a new release.
    strategy: Option<StrategyTable>,
    /// What speaks against a new release while it is watched.
    judge: Option<JudgeTable>,
    /// The environments that must have succeeded with a release before this one takes it.
    requires: Option<Vec<String>>,
    /// Whether what has succeeded in the environments of `requires` comes into this one by itself, or by
    /// `gapless promote`.
    #[schemars(extend("default" = "manual"))]
    promote: Option<PromoteBy>,
    /// What differs from environment to environment: `[environments.test]` has the same keys as the file, apart from
    /// `name`, and inherits those that it does not have. `[env]` and the other tables are inherited key by key.
    environments: Option<Environments>,
}

/// One service. It inherits the keys that it does not have from the file, `[env]` and the other tables key by key; `port`
/// and `[health]` only if requests come to it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
struct ServiceTable {
    /// Requests under this path prefix come to it, of each host. A service without `path`, `hosts` and `routes` gets no
    /// requests from outside.
    path: Option<String>,
    /// Whether the prefix is cut off before the request is forwarded.
    #[schemars(extend("default" = false))]
    strip: Option<bool>,
    #[schemars(flatten)]
    workload: WorkloadKeys,
}

/// What runs, and how requests come to it: keys of the file and of each service.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
struct WorkloadKeys {
    /// What runs it. Without it: docker where there is an `image`, else process.
    runtime: Option<RuntimeName>,
    /// The image to run, such as `shop:42` or `registry.example.com/shop@sha256:…`. `deploy --image` goes before it, for a
    /// service `deploy --image NAME=IMAGE`.
    image: Option<String>,
    /// The program and its arguments: for a process required, for a container in place of the image's command. `{port}`
    /// in an argument of a process is replaced by the instance's port. A program with a slash is looked up from the
    /// file's folder on, one without by PATH.
    command: Option<Vec<String>>,
    /// In place of the image's entrypoint.
    entrypoint: Option<Vec<String>>,
    /// The user that it runs as in its container: `name` or `uid[:gid]`. A process runs as the user of the server.
    user: Option<String>,
    /// Whether a small init runs as process 1 of the container, for images whose own ignores signals.
    #[schemars(extend("default" = false))]
    init: Option<bool>,
    /// The folder that a process runs in, from the file's folder on; that folder itself without it.
    directory: Option<String>,
    /// The port that it listens on in its container. A process is given its port in `PORT`.
    #[schemars(range(min = 1, max = 65535))]
    port: Option<u16>,
    /// How many instances run side by side.
    #[schemars(range(min = 1, max = REPLICAS_MAX), extend("default" = 1))]
    replicas: Option<u16>,
    /// The hosts whose requests come to it: names, `*.example.com`, or `*`. Without it and without `routes` every host; for
    /// a service those of the file.
    hosts: Option<Vec<String>>,
    /// Requests by host and path, where hosts alone do not say enough.
    routes: Option<Vec<RouteTable>>,
    /// Environment variables.
    env: Option<Variables>,
    /// Files of environment variables, `NAME=value` on each line, from this file's folder on. `[env]` goes before them,
    /// later files before earlier ones.
    env_files: Option<Vec<String>>,
    /// Variables whose values come from the environment of the command that deploys. They are shown to nobody.
    secrets: Option<Vec<String>>,
    /// What is mounted in the container: `SOURCE:PATH` or `SOURCE:PATH:ro`. A source is a volume's name, an absolute
    /// path, or one that begins with `./` from this file's folder on.
    volumes: Option<Vec<String>>,
    /// Limits on each instance.
    resources: Option<ResourcesTable>,
    /// What the output of each instance may take on disk.
    log: Option<LogTable>,
    /// Fixed ports on the host, one a slot, where something beside gapless needs to know them.
    host_ports: Option<HostPortsTable>,
    /// What says that an instance is well, and can take requests.
    health: Option<HealthTable>,
}

/// How a release comes from one environment into the next.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "described here, read by `read`")]
enum PromoteBy {
    /// By `gapless promote`: continuous delivery.
    Manual,
    /// By itself: continuous deployment.
    Auto,
}

/// What runs an application.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "described here, read by `read`")]
enum RuntimeName {
    /// Containers, by the Docker Engine.
    Docker,
    /// Processes of the host.
    Process,
    /// Services of the host's systemd.
    Systemd,
}

/// Requests for one host, under one path.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
struct RouteTable {
    /// The host: a name, `*.example.com`, or `*` for every other.
    #[schemars(extend("default" = "*"))]
    host: Option<String>,
    /// The path prefix, in whole segments: `/api` is for `/api` and `/api/x`, not for `/apix`. The longest counts.
    #[schemars(extend("default" = "/"))]
    path: Option<String>,
    /// Whether the prefix is cut off before the request is forwarded.
    #[schemars(extend("default" = false))]
    strip: Option<bool>,
}

/// Limits on each instance.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
struct ResourcesTable {
    /// Memory, such as `512m`; an instance that takes more is killed. No limit without it.
    memory: Option<Size>,
    /// Processors, such as 2 or 0.5. No limit without it.
    #[schemars(range(min = 0.01))]
    cpus: Option<f64>,
}

/// What the output of each instance may take on disk.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
struct LogTable {
    /// The size of one file.
    #[schemars(extend("default" = "10m"))]
    max_size: Option<Size>,
    /// How many files are kept.
    #[schemars(range(min = 1, max = 100), extend("default" = 3))]
    max_files: Option<u16>,
}

/// Fixed ports on the host, one a slot.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
struct HostPortsTable {
    /// The port of the blue slot.
    #[schemars(range(min = 1, max = 65535))]
    blue: u16,
    /// The port of the green slot.
    #[schemars(range(min = 1, max = 65535))]
    green: u16,
}

/// What says that an instance can take requests: a GET, straight to it; of a service that listens nowhere, that it runs.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
struct HealthTable {
    /// The path to get.
    #[schemars(regex(pattern = "^/"), extend("default" = "/up"))]
    path: Option<String>,
    /// How long an instance of a service that listens nowhere has to have run.
    #[schemars(extend("default" = "1s"))]
    settle: Option<Duration>,
    /// The port to ask, where it is not the application's.
    #[schemars(range(min = 1, max = 65535))]
    port: Option<u16>,
    /// The statuses that mean healthy: a list such as `[200, 204]`, or a range such as `"200-399"`.
    #[schemars(extend("default" = "200-299"))]
    statuses: Option<Statuses>,
    /// The Host header; the instance's address without it.
    host: Option<String>,
    /// The longest wait between two checks: while starting they begin 2 ms apart and grow to it.
    #[schemars(extend("default" = "1s"))]
    interval: Option<Duration>,
    /// How long one check may take.
    #[schemars(extend("default" = "5s"))]
    timeout: Option<Duration>,
    /// How many must pass in a row before an instance takes requests.
    #[schemars(range(min = 1, max = 100), extend("default" = 1))]
    passes: Option<u16>,
    /// How many must fail in a row before a live instance is taken out of rotation.
    #[schemars(range(min = 1, max = 100), extend("default" = 3))]
    failures: Option<u16>,
    /// How long a starting instance has until it must have passed.
    #[schemars(extend("default" = "30s"))]
    deadline: Option<Duration>,
}

/// How requests are forwarded, and what is answered when they cannot be.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
struct ProxyTable {
    /// How long connecting to an instance may take.
    #[schemars(extend("default" = "2s"))]
    connect_timeout: Option<Duration>,
    /// How long an instance may take from the end of the request to the head of its answer.
    #[schemars(extend("default" = "60s"))]
    response_timeout: Option<Duration>,
    /// How long a body may rest, in either direction, without a byte moving.
    #[schemars(extend("default" = "60s"))]
    idle_timeout: Option<Duration>,
    /// Whether `X-Forwarded-*`, `Forwarded` and `X-Request-Id` of the client are believed and extended, because another
    /// proxy of yours stands in front. Otherwise they are replaced.
    #[schemars(extend("default" = false))]
    trust_forwarded: Option<bool>,
    /// What `Retry-After` says in an answer 503.
    #[schemars(extend("default" = "2s"))]
    retry_after: Option<Duration>,
    /// An HTML file, at most 64 KiB, for the answers 502, 503 and 504, from this file's folder on.
    error_page: Option<String>,
}

/// The deadlines of a deployment.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
struct DeployTable {
    /// How long resolving and pulling may take.
    #[schemars(extend("default" = "10m"))]
    prepare_timeout: Option<Duration>,
    /// How long creating and starting the instances may take.
    #[schemars(extend("default" = "1m"))]
    start_timeout: Option<Duration>,
    /// How long the data planes may take to apply the cutover before it is taken back.
    #[schemars(extend("default" = "10s"))]
    shift_timeout: Option<Duration>,
    /// How long the new slot is watched after the cutover, with the old one ready to take over again.
    #[schemars(extend("default" = "10s"))]
    observe: Option<Duration>,
    /// How long the old slot may take to finish the requests that it has.
    #[schemars(extend("default" = "30s"))]
    drain_timeout: Option<Duration>,
    /// How long an instance has from SIGTERM to SIGKILL.
    #[schemars(extend("default" = "10s"))]
    stop_timeout: Option<Duration>,
    /// How long the old slot stays ready for rollback after the observation.
    #[schemars(extend("default" = "10m"))]
    keep_warm: Option<Duration>,
    /// Whether it is frozen meanwhile, so that it takes no processor time.
    #[schemars(extend("default" = true))]
    park: Option<bool>,
    /// How many releases stay on the host for a rollback that needs no registry.
    #[schemars(range(min = 1, max = 100), extend("default" = 5))]
    keep: Option<u16>,
}
