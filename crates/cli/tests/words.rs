//! What the command line says, word for word: help, mistakes, and what is wrong with a configuration. After a change on
//! purpose, `INSTA_UPDATE=always cargo test -p gapless` takes the new words over.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// What a command prints and how it exits.
fn said(folder: &Path, arguments: &[&str]) -> String {
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
fn help() {
    let folder = tempfile::tempdir().unwrap();
    let whole = said(folder.path(), &["--help"]);
    let commands = whole.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A longer description goes on in the next line, further in.
    let names = commands.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    let texts = names.map(|name| said(folder.path(), &[name, "--help"]));
    insta::assert_snapshot!(format!("{whole}{}", texts.collect::<String>()));
}

#[test]
fn mistakes() {
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
    insta::assert_snapshot!(lines.map(|line| said(folder.path(), line)).concat());
}

#[test]
fn wrong_configurations() {
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
        all.push_str(&said(folder.path(), &["validate"]));
    }
    insta::assert_snapshot!(all);
}
