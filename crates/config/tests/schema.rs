//! What editors are told of `gapless.toml`: that its schema has what is read, and takes what is read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use boon::{Compiler, SchemaIndex, Schemas};
use gapless_config::{LoadOptions, Secrets, parse, schema};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

/// The keys of a table in the schema, with those of the tables in it.
fn schema_keys(schema: &Value, table: &Value, prefix: &str, keys: &mut BTreeSet<String>) {
    for (key, value) in table["properties"].as_object().unwrap() {
        let reference = [&value["$ref"], &value["anyOf"][0]["$ref"], &value["items"]["$ref"]];
        let name = reference.iter().find_map(|reference| reference.as_str()?.strip_prefix("#/$defs/"));
        match name.map(|name| &schema["$defs"][name]).filter(|table| table.get("properties").is_some()) {
            Some(table) => schema_keys(schema, table, &format!("{prefix}{key}."), keys),
            None => drop(keys.insert(format!("{prefix}{key}"))),
        }
    }
}

/// Tables whose keys are the user's own.
const OWN_KEYS: [&str; 5] = ["env", "environments", "headers", "expect_headers", "json"];

fn file_keys(table: &toml::Table, prefix: &str, keys: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = format!("{prefix}{key}");
        match value {
            toml::Value::Table(environments) if key == "environments" => {
                keys.insert(path);
                environments.values().for_each(|environment| file_keys(environment.as_table().unwrap(), "", keys));
            }
            toml::Value::Table(table) if !OWN_KEYS.contains(&key.as_str()) => {
                file_keys(table, &format!("{path}."), keys)
            }
            toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
                items.iter().for_each(|item| file_keys(item.as_table().unwrap(), &format!("{path}."), keys));
            }
            _ => drop(keys.insert(path)),
        }
    }
}

#[test]
fn the_schema_has_the_keys_that_are_read() {
    let schema = schema();
    let (mut described, mut read) = (BTreeSet::new(), BTreeSet::new());
    schema_keys(&schema, &schema, "", &mut described);
    // That file is also read above, so each of its keys is one.
    file_keys(&fs::read_to_string("tests/every_key.toml").unwrap().parse().unwrap(), "", &mut read);
    // The one key that does not fit beside the others: it is a process's.
    read.insert("directory".to_owned());
    // These stand in place of `routes`, in a file of their own.
    read.insert("services".to_owned());
    assert_eq!(described, read);
}

#[test]
fn the_schema_has_the_keys_of_a_service() {
    let schema = schema();
    let described: BTreeSet<_> =
        schema["$defs"]["ServiceTable"]["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    let file: toml::Table = fs::read_to_string("tests/services.toml").unwrap().parse().unwrap();
    let services = file["services"].as_table().unwrap().values().map(|service| service.as_table().unwrap());
    let mut read: BTreeSet<_> = services.flat_map(|service| service.keys().map(String::as_str)).collect();
    read.insert("directory");
    assert_eq!(described, read);
}

#[test]
fn the_schema_in_docs_is_current() {
    let path = "../../docs/gapless.schema.json";
    let now = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::create_dir_all("../../docs").unwrap();
        fs::write(path, &now).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == now,
        "docs/gapless.schema.json is not current: run this test with UPDATE_SCHEMA=1, and commit it"
    );
}

/// What goes by the schema, as editors do.
struct Editor {
    schemas: Schemas,
    schema: SchemaIndex,
}

impl Editor {
    fn new() -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("gapless.schema.json", schema()).unwrap();
        let schema = compiler.compile("gapless.schema.json", &mut schemas).unwrap();
        Editor { schemas, schema }
    }

    /// What it says against a file.
    fn complaints(&self, file: &toml::Table) -> Option<String> {
        let file = serde_json::to_value(file).unwrap();
        self.schemas.validate(&file, self.schema).err().map(|error| format!("{error:#}"))
    }
}

/// The file without one of its keys, for each of them; of arrays, without one of the keys of an item.
fn without_one(value: &toml::Value) -> Vec<toml::Value> {
    let mut all = Vec::new();
    match value {
        toml::Value::Table(table) => {
            for (key, inner) in table {
                let mut less = table.clone();
                less.remove(key);
                all.push(less.into());
                for inner in without_one(inner) {
                    let mut other = table.clone();
                    other.insert(key.clone(), inner);
                    all.push(other.into());
                }
            }
        }
        toml::Value::Array(items) => {
            for (at, inner) in items.iter().enumerate() {
                for inner in without_one(inner) {
                    let mut other = items.clone();
                    other[at] = inner;
                    all.push(other.into());
                }
            }
        }
        _ => {}
    }
    all
}

/// An editor that finds a mistake where there is none is worse than none.
#[test]
fn what_is_read_without_a_mistake_has_none_by_the_schema() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["one.env", "two.env", "error.html"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let options = LoadOptions { secrets: Secrets::NotNeeded, ..LoadOptions::default() };
    let is_read = |text: &str| parse(text, "gapless.toml", folder.path(), &options).is_ok();
    let (mut read, editor) = (0, Editor::new());
    for path in ["tests/every_key.toml", "tests/services.toml", "../../examples/bdd-assistant/gapless.toml"] {
        let file: toml::Table = fs::read_to_string(path).unwrap().parse().unwrap();
        assert!(is_read(&file.to_string()), "{path}");
        for file in [file.clone().into()].into_iter().chain(without_one(&file.into())) {
            let file = file.as_table().unwrap();
            if is_read(&file.to_string()) {
                read += 1;
                assert_eq!(editor.complaints(file), None, "{file}");
            }
        }
    }
    assert!(read > 100, "only {read} files could be read");
}

#[test]
fn mistakes_are_some_by_the_schema_too() {
    let editor = Editor::new();
    let minimal = "name = \"shop\"\nimage = \"shop:1\"\nport = 3000\n";
    assert_eq!(editor.complaints(&minimal.parse().unwrap()), None);
    for mistake in [
        "prot = 3000",
        "replicas = 0",
        "[health]\ninterval = \"soon\"",
        "[health]\nstatuses = 99",
        "[resources]\nmemory = \"much\"",
        "[judge]\nerrors_max = \"5\"",
        "[env]\n1A = \"x\"",
        "[[gates]]\ncommand = [\"true\"]",
        "[services.web]\nprot = 3000",
    ] {
        assert!(editor.complaints(&format!("{minimal}{mistake}").parse().unwrap()).is_some(), "{mistake}");
    }
}
