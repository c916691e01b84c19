//! Large amounts of history, output and connections. A short part of `./scripts/scenario recovery`, `flood` and
//! `crowd`.

use gapless_harness::Runtime;
use gapless_scenarios::scale::crowd::{self, Crowd};
use gapless_scenarios::scale::flood::{self, Flood};
use gapless_scenarios::scale::recovery;
use std::time::Duration;

const MIB_IN_KIB: u64 = 1024;

/// Failure mode A22.
#[test]
fn killed_server_recovers_with_long_history() {
    let outcome = recovery::recover(20, 200);
    assert_eq!(outcome.records, 4_000);
    assert!(outcome.failed == 0 && outcome.requests > 0, "{outcome:?}");
    assert!(outcome.memory_kib < 150 * MIB_IN_KIB, "{outcome:?}");
    println!("{outcome:?}");
}

/// Failure mode B9.
#[test]
fn websockets_and_idle_connections_survive_deployments() {
    let crowd = Crowd { websockets: 200, idle: 2_000, deploys: 4 };
    let outcome = crowd::run(crowd, &mut |line| println!("{line}"));
    let report = &outcome.report;
    assert_eq!(report.failed, 0, "{:#?}", report.failures);
    assert!(report.moved >= 200, "only {} WebSockets were closed for a reconnect", report.moved);
    assert_eq!((outcome.answered, outcome.closed), (2_000, 0), "idle connections answer again");
    assert!(outcome.most.memory_kib < outcome.before.memory_kib + 100 * MIB_IN_KIB, "{outcome:?}");
}

/// Failure mode C7.
#[test]
fn log_flood_stalls_nothing_and_uses_bounded_space() {
    for runtime in [Runtime::Process, Runtime::Docker] {
        let outcome = flood::run(Flood { mb_per_s: 20, long_line_mb: 64, lasting: Duration::from_secs(4), runtime });
        let report = &outcome.report;
        assert_eq!(report.failed, 0, "{:#?}", report.failures);
        assert!(outcome.written_mb_per_s > 2.0 && outcome.followed > 1_000, "{outcome:?}");
        assert!(
            outcome.server.memory_kib < 200 * MIB_IN_KIB && outcome.shim.memory_kib < 20 * MIB_IN_KIB,
            "{outcome:?}"
        );
        assert!(outcome.log_bytes <= 30 << 20, "{outcome:?}");
    }
}
