//! Gates: the tests that a release must pass between its start and its cutover. Only gates reach it meanwhile.

use crate::planted;
use crate::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The number of a gate's last lines that are kept with the deployment.
pub const LINES_KEPT: usize = 20;

/// A test that a release must pass before its cutover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// The gate's name, under the same rule as an application's.
    pub name: String,
    /// The test itself.
    pub kind: GateKind,
    /// The time limit of one attempt.
    pub timeout: Millis,
    /// The number of further attempts after a failure.
    #[serde(default)]
    pub retries: u16,
    /// The gate runs in parallel with the gate before it, not after it.
    #[serde(default)]
    pub parallel: bool,
}

/// The test of a gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum GateKind {
    /// A program on the server's host; the exit code 0 passes.
    Command(GateCommand),
    /// A container that runs to its end; the exit code 0 passes.
    Container(GateContainer),
    /// Requests with expected answers.
    Http(Vec<GateRequest>),
    /// A stress test.
    Load(GateLoad),
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GateCommand {
    /// The program (an absolute path) and its arguments.
    pub command: Vec<String>,
    /// The user that it runs as; by default `nobody` if the server is root, else the server's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// A container to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GateContainer {
    /// The image.
    pub image: String,
    /// The command, in place of the image's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
}

/// A request and the expected answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GateRequest {
    /// The method.
    pub method: String,
    /// The path, with an optional query.
    pub path: String,
    /// The headers to send.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The expected status.
    pub status: u16,
    /// The expected headers with their values.
    #[serde(default)]
    pub expect_headers: BTreeMap<String, String>,
    /// Texts that the body must contain.
    #[serde(default)]
    pub contains: Vec<String>,
    /// Expected values in a JSON body, by JSON Pointer (RFC 6901).
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Object>)]
    pub json: BTreeMap<String, serde_json::Value>,
    /// The time limit of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Millis>,
}

/// A stress test: requests at a fixed rate that does not wait for answers, or as many as its connections can carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GateLoad {
    /// Requests per second, sent whether or not earlier ones are answered; 0 sends as fast as the connections can.
    #[serde(default)]
    pub rate_per_s: u32,
    /// The number of connections.
    pub connections: u16,
    /// The duration of the load.
    pub duration: Millis,
    /// The requests, sent in turn.
    pub requests: Vec<LoadRequest>,
    /// The largest share of failed requests (no answer, or a status of 500 or more), in thousandths.
    pub errors_max_permille: u16,
    /// The upper bounds of latencies.
    #[serde(default)]
    pub latency_max: LatencyBounds,
    /// The least number of answered requests per second.
    #[serde(default)]
    pub throughput_min: u32,
}

/// A kind of request of a stress test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadRequest {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
}

/// Upper bounds of latencies at some quantiles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LatencyBounds {
    /// The bound of the median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<Millis>,
    /// The bound of the 95th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<Millis>,
    /// The bound of the 99th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<Millis>,
}

/// The result of an attempt of a gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GateResult {
    /// The attempt passed.
    pub passed: bool,
    /// The finding, in a sentence: `exited with code 1`, `5 of 5 requests as expected`.
    pub summary: String,
    /// The last lines of output.
    #[serde(default)]
    pub lines: Vec<String>,
    /// The number of tests in its JUnit XML report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<TestCounts>,
    /// The latencies of a stress test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyReport>,
}

/// Counts of tests from a JUnit XML report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestCounts {
    /// All tests.
    pub run: u64,
    /// The tests that failed or could not run.
    pub failed: u64,
    /// The tests that were skipped.
    pub skipped: u64,
}

/// The measurements of a stress test. A latency counts from the instant at which the request was due, not from its
/// sending, so that a slow application does not make its own test easier.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LatencyReport {
    /// The number of requests.
    pub requests: u64,
    /// The number of failed requests.
    pub failed: u64,
    /// Answered requests per second.
    pub throughput: u64,
    /// Quantiles in thousandths, each with its latency in microseconds.
    pub quantiles_us: Vec<(u16, u64)>,
}

/// The progress of a gate of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GateReport {
    /// The gate's name.
    pub name: String,
    /// The number of completed attempts.
    pub attempts: u16,
    /// The start of the first attempt.
    pub since: Timestamp,
    /// The end of the last attempt.
    pub until: Timestamp,
    /// The result of the last attempt.
    pub result: GateResult,
}

/// The gates to run now: those of the first group of which not all have passed. Empty if a gate has failed its last
/// attempt, or if all have passed.
#[must_use]
pub fn due<'a>(gates: &'a [Gate], reports: &[GateReport]) -> Vec<&'a Gate> {
    if failed(gates, reports).is_some() {
        return Vec::new();
    }
    let has_passed = |gate: &Gate| reports.iter().any(|report| report.name == gate.name && report.result.passed);
    let mut rest = gates;
    while !rest.is_empty() {
        let others = rest[1..].iter().take_while(|gate| gate.parallel).count();
        let (group, after) = rest.split_at(1 + others);
        if !group.iter().all(has_passed) {
            return group.iter().filter(|gate| !has_passed(gate)).collect();
        }
        rest = after;
    }
    Vec::new()
}

/// The report of a gate that has failed its last attempt.
#[must_use]
pub fn failed<'a>(gates: &[Gate], reports: &'a [GateReport]) -> Option<&'a GateReport> {
    let is_final = |report: &GateReport| {
        let retries = gates.iter().find(|gate| gate.name == report.name).map_or(0, |gate| gate.retries);
        !report.result.passed && report.attempts > retries && !planted::ignores_gates()
    };
    reports.iter().find(|report| is_final(report))
}

/// Every gate has passed.
#[must_use]
pub fn all_passed(gates: &[Gate], reports: &[GateReport]) -> bool {
    let passed = |report: &GateReport| report.result.passed || planted::ignores_gates();
    gates.iter().all(|gate| reports.iter().any(|report| report.name == gate.name && passed(report)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(name: &str, parallel: bool, retries: u16) -> Gate {
        let kind = GateKind::Command(GateCommand { command: vec!["/bin/true".to_owned()], user: None });
        Gate { name: name.to_owned(), kind, timeout: Millis(1), retries, parallel }
    }

    fn report(name: &str, passed: bool, attempts: u16) -> GateReport {
        let result = GateResult { passed, summary: String::new(), lines: Vec::new(), tests: None, latency: None };
        GateReport { name: name.to_owned(), attempts, since: Timestamp(0), until: Timestamp(0), result }
    }

    fn names(gates: &[Gate], reports: &[GateReport]) -> Vec<String> {
        due(gates, reports).into_iter().map(|gate| gate.name.clone()).collect()
    }

    #[test]
    fn due_runs_groups_in_order_and_gates_of_a_group_in_parallel() {
        let gates = [gate("a", false, 0), gate("b", true, 0), gate("c", false, 0)];
        assert_eq!(names(&gates, &[]), ["a", "b"]);
        assert_eq!(names(&gates, &[report("a", true, 1)]), ["b"]);
        assert_eq!(names(&gates, &[report("a", true, 1), report("b", true, 1)]), ["c"]);
        let all = [report("a", true, 1), report("b", true, 1), report("c", true, 1)];
        assert!(names(&gates, &all).is_empty() && all_passed(&gates, &all));
    }

    #[test]
    fn due_repeats_failed_gate_until_retries_are_used_up() {
        let gates = [gate("a", false, 1), gate("b", true, 0)];
        assert_eq!(names(&gates, &[report("a", false, 1)]), ["a", "b"]);
        assert_eq!(failed(&gates, &[report("a", false, 1)]), None);
        let reports = [report("a", false, 2)];
        assert!(names(&gates, &reports).is_empty());
        assert_eq!(failed(&gates, &reports).map(|report| report.name.as_str()), Some("a"));
    }
}
