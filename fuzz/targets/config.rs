//! Configurations of applications and of the server: every error has a position and can be displayed; an accepted
//! configuration is valid, survives serialization, and parses to the same spec each time.

#![no_main]

use gapless_config::{ConfigError, LoadOptions, Secrets, parse, parse_server};
use gapless_core::Spec;
use libfuzzer_sys::fuzz_target;
use miette::{GraphicalReportHandler, GraphicalTheme};
use std::path::Path;
use std::sync::LazyLock;

const NAME: &str = "gapless.toml";

/// A folder with exactly the files that seeds name.
static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("vars.env"), "A=1\nexport B='two'\nC=\"a\\nb\"\n").expect("a file");
    std::fs::write(folder.path().join("page.html"), "<h1>Sorry</h1>").expect("a file");
    folder
});

fuzz_target!(|text: &str| {
    let base = FOLDER.path();
    // Excludes paths outside of the folder, where a file's content may change between two reads.
    if text.contains("..") || text.contains("/proc") || text.contains("/dev") || text.contains("/sys") {
        return;
    }
    let options =
        LoadOptions { secrets: Secrets::NotNeeded, search_path: Some("/usr/bin".into()), ..LoadOptions::default() };
    match parse(text, NAME, base, &options) {
        Ok(loaded) => {
            let json = serde_json::to_string(&loaded.spec).expect("a spec is JSON");
            let sent: Spec = serde_json::from_str(&json).expect("a spec is read");
            assert_eq!(sent, loaded.spec, "the spec survives serialization");
            assert_eq!(sent.validate(), Ok(()), "an accepted spec is valid");
            let again = parse(text, NAME, base, &options).expect("an accepted text is accepted again");
            assert_eq!(again.spec, loaded.spec);
            assert_eq!(loaded.spec.without_secrets().without_secrets(), loaded.spec.without_secrets());
        }
        Err(error) => check(&error, text),
    }
    if let Err(error) = parse_server(text, NAME, Path::new("/etc/gapless")) {
        check(&error, text);
    }
});

/// Checks that an error has problems, that each has a position in the text, and that all can be displayed.
fn check(error: &ConfigError, text: &str) {
    assert!(!error.problems().is_empty());
    for problem in error.problems() {
        assert!(!problem.message().is_empty());
        let Some((line, column)) = problem.position().filter(|_| problem.file() == Some(NAME)) else { continue };
        // The end of the text is a valid position too: something may be missing there.
        let shown = text.split('\n').nth(line - 1).unwrap_or_else(|| panic!("line {line} of {text:?}"));
        assert!((1..=shown.chars().count() + 1).contains(&column), "column {column} of line {line} of {text:?}");
    }
    let mut shown = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
    handler.render_report(&mut shown, error).expect("the error can be displayed");
    assert!(error.problems().iter().all(|problem| problem.message().len() > 60 || !shown.is_empty()));
}
