//! The schema of `gapless.toml` for editors: it has the keys that are read, and accepts the files that are read.

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
fn schema_has_the_keys_that_are_read() {
    let schema = schema();
    let (mut described, mut read) = (BTreeSet::new(), BTreeSet::new());
    schema_keys(&schema, &schema, "", &mut described);
    // The reader accepts this file in `reading.rs`, so that all of its keys exist.
    file_keys(&fs::read_to_string("tests/every_key.toml").unwrap().parse().unwrap(), "", &mut read);
    // A key of a process, which does not fit beside the keys of a container.
    read.insert("directory".to_owned());
    // In place of `routes`: services have a file of their own, and `path` and `strip` are for a file without services.
    read.extend(["services", "path", "strip"].map(str::to_owned));
    assert_eq!(described, read);
}

#[test]
fn schema_has_the_keys_of_a_service() {
    let schema = schema();
    let described: BTreeSet<_> =
        schema["$defs"]["ServiceTable"]["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    let file: toml::Table = fs::read_to_string("tests/services.toml").unwrap().parse().unwrap();
    let services = file["services"].as_table().unwrap().values().map(|service| service.as_table().unwrap());
    let mut read: BTreeSet<_> = services.flat_map(|service| service.keys().map(String::as_str)).collect();
    read.insert("directory");
    assert_eq!(described, read);
}

/// Applies the schema, as editors do.
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

    /// The errors of a file.
    fn errors(&self, file: &toml::Table) -> Option<String> {
        let file = serde_json::to_value(file).unwrap();
        self.schemas.validate(&file, self.schema).err().map(|error| format!("{error:#}"))
    }
}

/// The file once for each key, without that key; for arrays, without one key of an item.
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

/// An editor that reports an error in a correct file is worse than no editor support.
#[test]
fn schema_accepts_every_file_the_reader_accepts() {
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
                assert_eq!(editor.errors(file), None, "{file}");
            }
        }
    }
    assert!(read > 100, "only {read} files could be read");
}

#[test]
fn schema_refuses_mistakes() {
    let editor = Editor::new();
    let minimal = "name = \"shop\"\nimage = \"shop:1\"\nport = 3000\n";
    assert_eq!(editor.errors(&minimal.parse().unwrap()), None);
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
        assert!(editor.errors(&format!("{minimal}{mistake}").parse().unwrap()).is_some(), "{mistake}");
    }
}
