//! The generated files in `docs/` are current.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use gapless_config::{reference, schema, server_schema};
use std::fs;

/// Writes the file instead of the check if `UPDATE_DOCS` is set.
fn check(name: &str, now: &str) {
    let path = format!("../../docs/{name}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, now).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == now,
        "docs/{name} is not current: run `UPDATE_DOCS=1 cargo test -p gapless-config --test docs`, and commit it"
    );
}

#[test]
fn schema_of_gapless_toml_is_current() {
    check("gapless.schema.json", &format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap()));
}

#[test]
fn schema_of_server_toml_is_current() {
    check("server.schema.json", &format!("{}\n", serde_json::to_string_pretty(&server_schema()).unwrap()));
}

#[test]
fn configuration_page_is_current() {
    check("configuration.md", &reference());
}
