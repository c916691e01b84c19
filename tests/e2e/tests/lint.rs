//! `./scripts/lint words` accepts this repository, and notices each kind of violation.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn git(folder: &Path, args: &[&str]) {
    let identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
    let status = Command::new("git").current_dir(folder).args(identity).args(args).status().unwrap();
    assert!(status.success(), "git {args:?}");
}

fn lint(folder: &Path) -> Output {
    Command::new("python3").arg(root().join("scripts/lib/words.py")).arg("--json").current_dir(folder).output().unwrap()
}

/// The number of violations in a repository with one file.
fn violations(name: &str, text: &str) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "--quiet"]);
    fs::write(folder.path().join(name), text).unwrap();
    let output = lint(folder.path());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.success(), report["violations"] == 0);
    report["violations"].as_u64().unwrap()
}

#[test]
fn repository_has_no_violation() {
    let output = lint(root());
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && report.contains("\"violations\":0"), "run ./scripts/lint words: {report}");
}

#[test]
fn riddles_are_violations() {
    for (name, text) in [
        ("a.rs", "/// Whether it runs.\nfn f() {}\n"),
        ("a.rs", "//! What runs.\n"),
        ("a.rs", "fn f() { log(\"the server was told to stop\"); }\n"),
        ("a.rs", "fn f() {} // Which.\n"),
        ("a.rs", "#[test]\nfn what_is_stopped_stays_stopped() {}\n"),
        ("a.rs", "#[tokio::test(start_paused = true)]\nasync fn clients_are_told() {}\n"),
        ("a.md", "The proxy goes by the table.\n"),
        ("a.sh", "# Who runs this.\n"),
        ("a.toml", "# It begins anew.\n"),
    ] {
        assert!(violations(name, text) > 0, "{name}: {text}");
    }
}

#[test]
fn plain_words_and_code_are_no_violations() {
    for (name, text) in [
        ("a.rs", "/// The current routes,\n/// which a syncer sends.\n/// It is bounded.\nfn told() {}\n"),
        ("a.rs", "fn f<'a>(x: &'a str) -> char { '\"' } // Ends the text.\n"),
        ("a.md", "Say `apply`, not `go by`.\n\n```\ntold\n```\n"),
        ("a.sh", "#!/bin/sh\n# Starts the server.\n"),
    ] {
        assert_eq!(violations(name, text), 0, "{name}: {text}");
    }
}

#[test]
fn long_subject_is_a_violation_once_the_check_exists() {
    let folder = tempfile::tempdir().unwrap();
    let commit = |subject: &str| git(folder.path(), &["commit", "--quiet", "--allow-empty", "-m", subject]);
    git(folder.path(), &["init", "--quiet"]);
    commit(&"x".repeat(100));
    fs::create_dir_all(folder.path().join("scripts/lib")).unwrap();
    fs::write(folder.path().join("scripts/lib/words.py"), "").unwrap();
    git(folder.path(), &["add", "."]);
    commit("lint: add the check");
    assert!(lint(folder.path()).status.success());
    commit(&format!("lint: {}", "y".repeat(70)));
    assert!(!lint(folder.path()).status.success());
}
