//! Power loss at any moment, on a disk that keeps any part of the unsynced writes. A short part of
//! `./scripts/scenario power-loss`.

use gapless_scenarios::power::{self, Lie, Settings, Syncs};

/// Failure mode A14.
#[test]
fn acknowledged_changes_survive_power_loss() {
    let mut recording = power::record(1, Syncs::Well);
    let counts = recording.counts();
    assert!(counts.writes > 100 && counts.syncs > 100 && counts.acknowledged >= 8, "{counts:?}");
    let settings = Settings { images: 120, seed: 14, lie: None };
    let outcome = power::cut(&recording, settings);
    assert_eq!(outcome.images, 120);
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);

    // Proof that the judge works: it finds a disk that lies about its syncs, whatever the lie.
    for lie in [Lie::Files("state.db-wal"), Lie::Files("routes.json.new"), Lie::Folders] {
        let outcome = power::cut(&recording, Settings { lie: Some(lie), ..settings });
        assert!(outcome.violated > 0, "the judge did not find {lie:?}");
    }

    let wrong = power::restart(&mut recording, 2, 14, &mut |line| println!("{line}"));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// After a failed sync the system regards the lost data as written; then the power fails.
///
/// Failure mode A15.
#[test]
fn failed_sync_loses_nothing_when_power_is_cut() {
    let recording = power::record(1, Syncs::FailAtTimes);
    let outcome = power::cut(&recording, Settings { images: 120, seed: 15, lie: None });
    assert_eq!(outcome.images, 120);
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
}
