//! The demonstration, the first program that a user runs.

use serde_json::Value;
use std::process::Command;

#[test]
fn demo_runs_twice_and_stops_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let demo = |args: &[&str]| {
        let mut command = Command::new(gapless_harness::programs::demo_program());
        let ran = command.args(args).arg("--folder").arg(folder.path().join("demo")).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
        said
    };
    for _ in 0..2 {
        let said = demo(&["--runtime", "process", "--rate", "100", "--json"]);
        let receipt: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        assert_eq!(receipt["failed"], 0, "{said}");
        assert!(receipt["requests"].as_u64() > Some(300), "{said}");
        let releases: Vec<_> = receipt["by_release"].as_object().unwrap().keys().collect();
        assert!(releases.len() >= 2, "both releases must answer: {said}");
    }
    assert!(demo(&["--stop"]).contains("stopped and removed"));
    assert!(demo(&["--stop"]).contains("nothing runs"));
}
