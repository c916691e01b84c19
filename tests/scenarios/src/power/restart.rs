//! The real server, started on the disk after a power loss.

use super::disk::{self, Disk, Names};
use super::paths::STATE;
use super::record::Recording;
use gapless_harness::Rng;
use std::fs;

/// Starts the server on images of moments all over the recording with at least one acknowledged change, and returns the
/// problems.
#[must_use]
pub fn restart(recording: &mut Recording, times: u64, seed: u64, log_line: &mut dyn FnMut(&str)) -> Vec<String> {
    let mut chance = Rng::new(seed);
    let first = recording.acknowledged.first().map_or(0, |change| change.events);
    let mut wrong = Vec::new();
    for time in 0..times {
        let moments = (recording.events.len() - first) as u64;
        let moment = first + usize::try_from(moments * time / times + chance.below(moments / times + 1)).unwrap_or(0);
        // With loose names the whole folder of a standby can be lost: no user needs to repair that, but it is not the
        // state that the check expects.
        let mut disk = Disk::new(Names::Journal, None);
        recording.events.iter().take(moment).for_each(|event| disk.take(event));
        let image = disk.image(&mut chance);
        let folder = recording.test_host.host.folder();
        let _ = fs::remove_dir_all(folder.join(STATE));
        disk::write(&image, folder, Some(&recording.programs));
        let found = one(recording);
        log_line(&format!("started after {moment} events: {}", if found.is_empty() { "well" } else { "VIOLATED" }));
        wrong.extend(found.into_iter().map(|what| format!("seed {seed}, started after {moment} events: {what}")));
    }
    wrong
}

fn one(recording: &mut Recording) -> Vec<String> {
    let test_host = &mut recording.test_host;
    test_host.host.starter(&[]);
    test_host.host.start_server();
    // The application may have been stopped, or under maintenance. Otherwise these commands are refused.
    let _ = test_host.gapless.run(["start"]);
    let _ = test_host.gapless.run(["maintenance", "off"]);
    let mut wrong = test_host.settle();
    test_host.build();
    let next = test_host.gapless.run(["deploy", "--force"]);
    if next.code != 0 {
        wrong.push(format!("the next deployment: {next:?}"));
    }
    wrong.extend(test_host.settle().into_iter().map(|what| format!("after the next deployment: {what}")));
    if !wrong.is_empty() {
        wrong.extend(test_host.diagnostics());
    }
    test_host.power_off();
    wrong
}
