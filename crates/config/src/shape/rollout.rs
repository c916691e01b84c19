//! The tables that say how a release gets from its start to all requests.

use super::values::{Duration, Percent, Size};
use schemars::JsonSchema;
use serde_json::Value;
use std::collections::BTreeMap;

/// A gate: a `command`, a container of an `image`, `requests` or a `load`. It reaches the release by `GAPLESS_URL`, with
/// `GAPLESS_TOKEN` in the header `x-gapless-preview`, while nobody else does.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
pub(super) struct GateTable {
    /// Its name.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    name: String,
    /// The program and its arguments, run on the server's host; with an `image`, in place of that one's command.
    command: Option<Vec<String>>,
    /// The user that the program runs as: `nobody` without it, where the server is root.
    user: Option<String>,
    /// The image to run to its end.
    image: Option<String>,
    /// Requests with expected answers.
    requests: Option<Vec<GateRequestTable>>,
    /// A stress test.
    load: Option<GateLoadTable>,
    /// How long one attempt may take.
    #[schemars(extend("default" = "5m"))]
    timeout: Option<Duration>,
    /// How often it is tried again after it has failed.
    #[schemars(range(min = 0, max = 10), extend("default" = 0))]
    retries: Option<u16>,
    /// Whether it runs beside the gate before it, and not after it.
    #[schemars(extend("default" = false))]
    parallel: Option<bool>,
}

/// A request and what is expected of its answer.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
pub(super) struct GateRequestTable {
    /// The method.
    #[schemars(extend("default" = "GET"))]
    method: Option<String>,
    /// The path.
    #[schemars(regex(pattern = "^/"), extend("default" = "/"))]
    path: Option<String>,
    /// Headers that are sent.
    headers: Option<BTreeMap<String, String>>,
    /// The body that is sent.
    body: Option<String>,
    /// The status that is expected.
    #[schemars(range(min = 200, max = 599), extend("default" = 200))]
    status: Option<u16>,
    /// Headers that are expected, with their values.
    expect_headers: Option<BTreeMap<String, String>>,
    /// What the body has to contain.
    contains: Option<Vec<String>>,
    /// Values of the body, which is JSON, by JSON Pointer: `"/status" = "ok"`.
    json: Option<BTreeMap<String, Value>>,
    /// How long the answer may take.
    within: Option<Duration>,
}

/// A stress test.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
pub(super) struct GateLoadTable {
    /// Requests a second, sent whether or not earlier ones are answered. Without it as fast as the connections can.
    rate: Option<u32>,
    /// How many connections are used.
    #[schemars(range(min = 1, max = 1000), extend("default" = 16))]
    connections: Option<u16>,
    /// How long.
    #[schemars(extend("default" = "10s"))]
    duration: Option<Duration>,
    /// What is asked for, in turn: paths, or methods and paths such as `HEAD /`.
    #[schemars(extend("default" = ["/"]))]
    requests: Option<Vec<String>>,
    /// The most that may fail (no answer, or a status from 500), in per cent.
    #[schemars(extend("default" = 1))]
    errors_max: Option<Percent>,
    /// The most that the median latency may be.
    p50_max: Option<Duration>,
    /// The most that the latency of the slowest twentieth may be.
    p95_max: Option<Duration>,
    /// The most that the latency of the slowest hundredth may be.
    p99_max: Option<Duration>,
    /// The least requests a second that have to be answered.
    throughput_min: Option<u32>,
}

/// That people must approve a release.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
pub(super) struct ApprovalTable {
    /// How many.
    #[schemars(range(min = 1, max = 100), extend("default" = 1))]
    people: Option<u16>,
    /// Whether who asked for the deployment is not one of them.
    #[schemars(extend("default" = false))]
    by_others: Option<bool>,
    /// How long it waits for them.
    #[schemars(extend("default" = "24h"))]
    expires: Option<Duration>,
}

/// How requests come to a new release: all at one instant, or a share of them first.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
pub(super) struct StrategyTable {
    /// Without it `canary` where there are steps.
    kind: Option<StrategyKind>,
    /// Which requests a canary gets.
    by: Option<ChooseBy>,
    /// With `by = "hash"`: the header whose values are divided, always in the same way.
    header: Option<String>,
    /// With `by = "match"`: requests that match any of these go to the new release, and no others.
    r#match: Option<Vec<MatchTable>>,
    /// The steps of a canary, each with more of the requests than the one before. After the last one all go to the new
    /// release.
    steps: Option<Vec<StepTable>>,
    /// How long a step waits for a person.
    #[schemars(extend("default" = "24h"))]
    expires: Option<Duration>,
}

/// How requests come to a new release.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "described here, read by `read`")]
enum StrategyKind {
    /// All at one instant.
    BlueGreen,
    /// A share of them first.
    Canary,
}

/// Which requests a canary gets.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "described here, read by `read`")]
enum ChooseBy {
    /// Each is drawn for itself.
    Random,
    /// A signed cookie keeps each visitor on one release for the whole rollout.
    Sticky,
    /// By the value of a header.
    Hash,
    /// Those that match.
    Match,
}

/// What a request has to have: a `header` and its `value`, a `cookie` and its `value`, or a `path`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
struct MatchTable {
    /// The name of a header.
    header: Option<String>,
    /// The name of a cookie.
    cookie: Option<String>,
    /// The value of the header or the cookie.
    value: Option<String>,
    /// A path prefix, in whole segments.
    path: Option<String>,
}

/// A step of a canary.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
struct StepTable {
    /// The share of the requests, such as `"10%"`, in whole per cent.
    weight: Option<Percent>,
    /// How long the step lasts; without it until `gapless promote`.
    pause: Option<Duration>,
}

/// What speaks against a new release while it is watched, and sends requests back to the old one.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
pub(super) struct JudgeTable {
    /// How often, in per cent of the rollouts, a release that is as good as the old one may be taken back by mistake.
    /// 0 compares nothing.
    #[schemars(extend("default" = 1))]
    false_alarms: Option<Percent>,
    /// How much slower, in per cent, its quantiles of latency may be than those of the old one in the same time.
    #[schemars(range(min = 0, max = 10_000), extend("default" = 50))]
    slower_percent: Option<u16>,
    /// And by how much at least.
    #[schemars(extend("default" = "10ms"))]
    slower_by: Option<Duration>,
    /// Requests that it must have answered before anything is held against it.
    #[schemars(range(min = 1), extend("default" = 20))]
    requests_min: Option<u32>,
    /// The most of its requests that may fail (no answer, or a status from 500), in per cent.
    errors_max: Option<Percent>,
    /// The most that its median latency may be.
    p50_max: Option<Duration>,
    /// The most that the latency of its slowest twentieth may be.
    p95_max: Option<Duration>,
    /// The most that the latency of its slowest hundredth may be.
    p99_max: Option<Duration>,
}

/// Something that is done once in each deployment: a `command`, or a container of an `image`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
pub(super) struct HookTable {
    /// Its name.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    name: String,
    /// When.
    at: HookAt,
    /// The program and its arguments, run on the server's host; with an `image`, in place of that one's command.
    command: Option<Vec<String>>,
    /// The user that the program runs as: `nobody` without it, where the server is root.
    user: Option<String>,
    /// The image to run to its end.
    image: Option<String>,
    /// How long it may take.
    #[schemars(extend("default" = "5m"))]
    timeout: Option<Duration>,
}

/// The points of a deployment.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "described here, read by `read`")]
enum HookAt {
    /// The release is fetched, and nothing of it runs yet.
    BeforeStart,
    /// The release has passed its gates and approvals; the old one serves.
    BeforeCutover,
    /// The release has just got all requests; if the hook fails they go back.
    AfterCutover,
    /// The release stays; if the hook fails there is a warning.
    AfterSuccess,
    /// The deployment has failed, or its release was taken back.
    OnFailure,
}

/// A migration: a `command`, or a container of an `image`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
pub(super) struct MigrationTable {
    /// Its name.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    name: String,
    /// When.
    when: MigrateWhen,
    /// The program and its arguments, run on the server's host; with an `image`, in place of that one's command.
    command: Option<Vec<String>>,
    /// What undoes it, in the same form: a rollback past the migration runs it. Without it such a rollback needs
    /// `--force`.
    back: Option<Vec<String>>,
    /// The user that the program runs as: `nobody` without it, where the server is root.
    user: Option<String>,
    /// The image to run to its end.
    image: Option<String>,
    /// How long it may take: without it 5m, and 30s where requests are held.
    timeout: Option<Duration>,
}

/// When a migration is done.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "described here, read by `read`")]
enum MigrateWhen {
    /// Before the cutover, while the old release serves: both have to bear what it does.
    Before,
    /// While no release serves: new requests wait in the proxy and then go to the new release.
    Held,
    /// After the new release has succeeded.
    After,
}

/// How requests are held.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
pub(super) struct HoldTable {
    /// How long a request waits at most; then it is answered 503. The migration has to be done by then.
    #[schemars(extend("default" = "30s"))]
    timeout: Option<Duration>,
    /// How long requests that came before have to be finished, before the migration begins without that.
    #[schemars(extend("default" = "5s"))]
    drain: Option<Duration>,
    /// How many requests are held; further ones are answered 503.
    #[schemars(range(min = 1), extend("default" = 10_000))]
    requests_max: Option<u32>,
    /// What their heads may take together. Bodies are not read while requests wait.
    #[schemars(extend("default" = "64m"))]
    bytes_max: Option<Size>,
}

/// What `gapless maintenance on` answers.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "described here, read by `read`")]
pub(super) struct MaintenanceTable {
    /// An HTML file, at most 64 KiB, from this file's folder on.
    page: Option<String>,
}
