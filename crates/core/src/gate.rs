//! Gates: what a release must pass between its start and its cutover, while nobody but the tests is sent to it.

use crate::planted;
use crate::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// How many of a gate's last lines are kept with the deployment.
pub const LINES_KEPT: usize = 20;

/// One gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Its name, of the same form as that of an application.
    pub name: String,
    /// What is done.
    pub kind: GateKind,
    /// How long one attempt may take.
    pub timeout: Millis,
    /// How often it is tried again after it has failed.
    #[serde(default)]
    pub retries: u16,
    /// Whether it runs beside the gate before it, and not after it.
    #[serde(default)]
    pub parallel: bool,
}

/// What a gate does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum GateKind {
    /// A program of the server's host; it passes by ending with 0.
    Command(GateCommand),
    /// A container that is run to its end; it passes by ending with 0.
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
    /// The user that it runs as; where the server is root, `nobody` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// A container to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GateContainer {
    /// The image.
    pub image: String,
    /// In place of the image's command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
}

/// A request and what is expected of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GateRequest {
    /// The method.
    pub method: String,
    /// The path, with a query perhaps.
    pub path: String,
    /// Headers that are sent.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body that is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The status that is expected.
    pub status: u16,
    /// Headers that are expected, with their values.
    #[serde(default)]
    pub expect_headers: BTreeMap<String, String>,
    /// What the body has to contain.
    #[serde(default)]
    pub contains: Vec<String>,
    /// Values of the body, which is JSON: by JSON Pointer (RFC 6901).
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Object>)]
    pub json: BTreeMap<String, serde_json::Value>,
    /// How long the answer may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Millis>,
}

/// A stress test: requests at a rate that does not wait for answers, or as many as a number of connections can carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GateLoad {
    /// Requests a second, sent whether or not earlier ones are answered; 0: as fast as the connections can.
    #[serde(default)]
    pub rate_per_s: u32,
    /// How many connections are used.
    pub connections: u16,
    /// How long.
    pub duration: Millis,
    /// What is asked for, in turn: a method and a path.
    pub requests: Vec<LoadRequest>,
    /// The most that may fail (no answer, or a status from 500), in thousandths.
    pub errors_max_permille: u16,
    /// Bounds of latencies, where they are set.
    #[serde(default)]
    pub latency_max: LatencyBounds,
    /// The least requests a second that have to be answered.
    #[serde(default)]
    pub throughput_min: u32,
}

/// One kind of request of a stress test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadRequest {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
}

/// Bounds of latencies at some quantiles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LatencyBounds {
    /// Of the median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<Millis>,
    /// Of the slowest twentieth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<Millis>,
    /// Of the slowest hundredth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<Millis>,
}

/// What became of one attempt of a gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GateResult {
    /// Whether it passed.
    pub passed: bool,
    /// What was found, in a sentence: `exited with code 1`, `5 of 5 requests as expected`.
    pub summary: String,
    /// Its last lines.
    #[serde(default)]
    pub lines: Vec<String>,
    /// How many tests it reported as JUnit XML, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<TestCounts>,
    /// The latencies of a stress test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyReport>,
}

/// Counts of tests, as JUnit XML has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestCounts {
    /// All.
    pub run: u64,
    /// Those that failed, or could not be carried out.
    pub failed: u64,
    /// Those that were left out.
    pub skipped: u64,
}

/// What a stress test measured. Latencies count from when a request was due, not from when it could be sent, so that
/// a slow application does not make its own test milder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LatencyReport {
    /// Requests.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Requests answered a second.
    pub throughput: u64,
    /// Quantiles in thousandths and the latency there, in microseconds.
    pub quantiles_us: Vec<(u16, u64)>,
}

/// How far a gate of a deployment is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GateReport {
    /// The gate's name.
    pub name: String,
    /// How often it was tried to its end.
    pub attempts: u16,
    /// When the first attempt began.
    pub since: Timestamp,
    /// When the last one ended.
    pub until: Timestamp,
    /// What came of the last attempt.
    pub result: GateResult,
}

/// The gates that are to run now: those of the first group of which not all have passed. Nothing where one has failed
/// for good, or all have passed.
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

/// The report of a gate that has failed as often as it may.
#[must_use]
pub fn failed<'a>(gates: &[Gate], reports: &'a [GateReport]) -> Option<&'a GateReport> {
    let is_final = |report: &GateReport| {
        let retries = gates.iter().find(|gate| gate.name == report.name).map_or(0, |gate| gate.retries);
        !report.result.passed && report.attempts > retries && !planted::ignores_gates()
    };
    reports.iter().find(|report| is_final(report))
}

/// Whether every gate has passed.
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
    fn groups_run_one_after_the_other_and_their_gates_beside_each_other() {
        let gates = [gate("a", false, 0), gate("b", true, 0), gate("c", false, 0)];
        assert_eq!(names(&gates, &[]), ["a", "b"]);
        assert_eq!(names(&gates, &[report("a", true, 1)]), ["b"]);
        assert_eq!(names(&gates, &[report("a", true, 1), report("b", true, 1)]), ["c"]);
        let all = [report("a", true, 1), report("b", true, 1), report("c", true, 1)];
        assert!(names(&gates, &all).is_empty() && all_passed(&gates, &all));
    }

    #[test]
    fn a_gate_is_tried_again_as_often_as_it_may_and_then_stops_all() {
        let gates = [gate("a", false, 1), gate("b", true, 0)];
        assert_eq!(names(&gates, &[report("a", false, 1)]), ["a", "b"]);
        assert_eq!(failed(&gates, &[report("a", false, 1)]), None);
        let reports = [report("a", false, 2)];
        assert!(names(&gates, &reports).is_empty());
        assert_eq!(failed(&gates, &reports).map(|report| report.name.as_str()), Some("a"));
    }
}
