//! The permitted dependencies between the crates.

use std::collections::BTreeSet;
use std::process::Command;

/// Each crate of gapless, with the crates that it may depend on.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("gapless-core", &[]),
    ("gapless-api", &["gapless-core"]),
    ("gapless-config", &["gapless-core"]),
    ("gapless-store", &["gapless-effect"]),
    ("gapless-effect", &[]),
    ("gapless-runtime", &["gapless-core", "gapless-effect"]),
    ("gapless-proxy", &["gapless-core", "gapless-effect"]),
    (
        "gapless-plane",
        &[
            "gapless-core",
            "gapless-effect",
            "gapless-api",
            "gapless-runtime",
            "gapless-proxy",
            "gapless-gotemplate",
            "gapless-render",
        ],
    ),
    ("gapless-gotemplate", &[]),
    ("gapless-render", &["gapless-gotemplate"]),
    (
        "gapless-server",
        &["gapless-core", "gapless-effect", "gapless-api", "gapless-store", "gapless-runtime", "gapless-plane"],
    ),
    (
        "gapless",
        &[
            "gapless-core",
            "gapless-effect",
            "gapless-api",
            "gapless-config",
            "gapless-runtime",
            "gapless-proxy",
            "gapless-render",
            "gapless-server",
        ],
    ),
    (
        "gapless-sim",
        &["gapless-core", "gapless-api", "gapless-plane", "gapless-store", "gapless-runtime", "gapless-server"],
    ),
    ("gapless-ledger", &[]),
    ("gapless-harness", &["gapless-core", "gapless-api", "gapless-ledger"]),
    // The disk after a power loss is read by the code with which gapless itself reads it: store and proxy.
    (
        "gapless-scenarios",
        &["gapless-core", "gapless-api", "gapless-ledger", "gapless-store", "gapless-proxy", "gapless-harness"],
    ),
    ("gapless-bench", &["gapless-core", "gapless-api", "gapless-harness"]),
    ("gapless-demo", &["gapless-core", "gapless-ledger", "gapless-harness"]),
    // Only tests, so nothing but dev-dependencies.
    ("gapless-e2e", &[]),
    ("bdd-assistant", &[]),
];

/// Crates that a pure crate must not depend on, directly or indirectly: clock, disk, network, randomness.
const CORE_NEVER: &[&str] = &["tokio", "hyper", "bollard", "rusqlite", "rand", "rustix", "tracing"];

#[test]
fn crates_depend_only_on_allowed_crates() {
    let output = Command::new(env!("CARGO")).args(["metadata", "--no-deps", "--format-version", "1"]).output().unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let (_, allowed) = MAY_KNOW.iter().find(|(crate_name, _)| *crate_name == name).unwrap_or_else(|| {
            panic!("{name} is new: add it to MAY_KNOW in this test, with the crates that it may depend on");
        });
        let normal =
            package["dependencies"].as_array().unwrap().iter().filter(|dependency| dependency["kind"].is_null());
        for dependency in
            normal.map(|dependency| dependency["name"].as_str().unwrap()).filter(|name| ours.contains(name))
        {
            assert!(allowed.contains(&dependency), "{name} must not depend on {dependency}");
        }
    }
}

/// All direct and indirect dependencies of a crate.
fn dependencies(package: &str) -> BTreeSet<String> {
    let args = ["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"];
    let output = Command::new(env!("CARGO")).args(args).output().unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn core_pulls_in_no_impure_crate() {
    let names = dependencies("gapless-core");
    assert!(names.contains("serde"), "{names:?}");
    for never in CORE_NEVER {
        assert!(!names.contains(*never), "the core depends on {never}");
    }
}

#[test]
fn gotemplate_pulls_in_no_impure_crate() {
    let names = dependencies("gapless-gotemplate");
    assert!(names.contains("thiserror"), "{names:?}");
    for never in CORE_NEVER {
        assert!(!names.contains(*never), "gapless-gotemplate depends on {never}");
    }
}
