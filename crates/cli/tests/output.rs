//! The exact output of the command line: help, usage errors and configuration errors. After an intended change,
//! `INSTA_UPDATE=always cargo test -p gapless` updates the snapshots.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// The output and the exit code of a command.
fn output_of(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gapless"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("GAPLESS_SOCKET", "nobody.sock")
        .output()
        .unwrap();
    let mut text = format!("$ gapless {}\n", arguments.join(" "));
    text.push_str(&String::from_utf8(output.stdout).unwrap());
    text.push_str(&String::from_utf8(output.stderr).unwrap());
    let _ = writeln!(text, "[exit {}]\n", output.status.code().unwrap());
    text
}

#[test]
fn help_matches_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let whole = output_of(folder.path(), &["--help"]);
    let commands = whole.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A longer description continues on the next line, indented further.
    let names = commands.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    let texts = names.map(|name| output_of(folder.path(), &[name, "--help"]));
    insta::assert_snapshot!(format!("{whole}{}", texts.collect::<String>()));
}

#[test]
fn usage_errors_match_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let lines: [&[&str]; 10] = [
        &["dploy"],
        &["deploy"],
        &["rollback", "first"],
        &["rollback", "--app", "a/b"],
        &["history"],
        &["status"],
        &["init", "--name", "shop"],
        &["init", "--name", "shop"],
        &["init", "--name", "../shop", "--force"],
        &["validate"],
    ];
    insta::assert_snapshot!(lines.map(|line| output_of(folder.path(), line)).concat());
}

#[test]
fn configuration_errors_match_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let texts = [
        "nmae = \"shop\"\nimage = \"shop:1\"\n",
        "name = \"shop\"\nimage = \"shop:1\"\nport = \"web\"\n",
        "name = \"shop\"\nimage = \"shop:1\"\nport = 80\n\n[health]\ninterval = \"fast\"\n",
        "name = \"Shop!\"\nimage = \"shop:1\"\nport = 80\n",
        "name = \"shop\"\nimage = \"shop:1\"\ncommand = [\"./shop\"]\nport = 80\nhosts = [\"http://shop\"]\n",
        "name = \"shop\"\nport = 80\n",
        "name = \"shop\nimage\n",
    ];
    let mut all = String::new();
    for text in texts {
        std::fs::write(folder.path().join("gapless.toml"), text).unwrap();
        all.push_str(&output_of(folder.path(), &["validate"]));
    }
    insta::assert_snapshot!(all);
}
