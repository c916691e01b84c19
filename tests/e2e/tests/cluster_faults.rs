//! A cluster of three servers on three etcd members under faults: two shortened runs of `./scripts/scenario cluster`.

use gapless_scenarios::cluster::{Kind, Network, Settings, run, schedule};
use std::time::Duration;

/// Together these seeds kill a leader, pause a leader, and cut off a leader's machine.
const SEEDS: [u64; 2] = [6, 18];
const ROUNDS: usize = 2;

#[test]
fn cluster_fails_no_request_and_has_one_live_slot_under_faults() {
    let rounds: Vec<_> = SEEDS.into_iter().flat_map(|seed| schedule(seed, ROUNDS)).collect();
    for kind in [Kind::KillLeader, Kind::PauseLeader, Kind::CutLeadersMachine] {
        assert!(rounds.iter().flat_map(|round| &round.faults).any(|fault| fault.kind == kind), "{kind:?}");
    }
    let network = Network::new();
    std::thread::scope(|scope| {
        // In a thread of its own, since other tests must stay in their namespace.
        let runs = scope.spawn(|| {
            network.enter();
            for seed in SEEDS {
                let folder = tempfile::tempdir().expect("a temporary folder can be created");
                // The scenario tests the time of recoveries.
                let settings = Settings { rounds: ROUNDS, rate_per_s: 100, recovery_max: Duration::from_secs(40) };
                let report = run(&network, folder.path(), seed, settings);
                assert!(report.violations.is_empty(), "{report:#?}");
                assert!(report.failed == 0 && report.requests > 500, "{report:#?}");
                assert!(report.double_live == 0 && report.unfenced == 0 && report.live_changes > 2, "{report:#?}");
            }
        });
        if let Err(panic) = runs.join() {
            std::panic::resume_unwind(panic);
        }
    });
}
