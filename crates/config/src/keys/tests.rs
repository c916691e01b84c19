//! Each definition against the reader: examples, defaults, choices and bounds.

mod documents;

use super::{Bounds, DefaultValue, Key, Kind, Table, file, server};
use crate::{schema, server_schema};
use boon::{Compiler, Schemas};
use documents::{Document, Folder};

/// A key, and the path of its table: empty for the top of the file, `gates.load` for a table in another one.
struct Place {
    table: String,
    key: &'static Key,
}

/// All keys below `table`. A key that several tables share is there once for each.
fn places(table: &'static Table, path: &str) -> Vec<Place> {
    let mut all = Vec::new();
    for key in table.keys() {
        all.push(Place { table: path.to_owned(), key });
        let inner = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
        match key.kind {
            Kind::Table(table) | Kind::Tables(table) => all.extend(places(table, &inner)),
            Kind::Named(table) => all.extend(places(table, &format!("{inner}.api"))),
            _ => {}
        }
    }
    all
}

/// The keys of both files, each with a way to read it.
fn all_places() -> Vec<(Place, Document)> {
    let app = places(&file::TABLE, "").into_iter().map(|place| (place, Document::App));
    app.chain(places(&server::TABLE, "").into_iter().map(|place| (place, Document::Server))).collect()
}

#[test]
fn every_key_has_name_and_sentences_and_example() {
    for (Place { table, key }, _) in all_places() {
        let path = format!("{table}.{}", key.name);
        assert!(
            key.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
            "{path}"
        );
        for sentence in [key.doc, key.when] {
            assert!(sentence.ends_with('.') && !sentence.contains("  "), "{path}: {sentence:?}");
        }
        let is_section = matches!(key.kind, Kind::Table(_) | Kind::Tables(_) | Kind::Named(_) | Kind::Environments(_));
        assert!(is_section || !key.example.is_empty(), "{path} has no example");
    }
}

#[test]
fn keys_of_a_table_are_distinct() {
    for root in [&file::TABLE, &server::TABLE] {
        let mut paths: Vec<_> =
            places(root, "").iter().map(|place| format!("{}.{}", place.table, place.key.name)).collect();
        let count = paths.len();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), count);
    }
}

/// The reader takes keys by their definitions, so that it cannot accept a key without one.
#[cfg(debug_assertions)]
#[test]
#[should_panic(expected = "is not in the table of its keys")]
fn reader_cannot_take_key_of_another_table() {
    let report = crate::report::Report::new("gapless.toml", "");
    let (table, _) = toml::de::DeTable::parse_recoverable("");
    crate::section::Section::root(&report, table.get_ref(), &file::TABLE).note(&super::health::INTERVAL);
}

/// The reader knows every key that has a definition.
#[test]
fn every_example_is_read() {
    let folder = Folder::new();
    let mut read = 0;
    for (Place { table, key }, document) in all_places().iter().filter(|(place, _)| !place.key.example.is_empty()) {
        let text = document.text(table, key, key.example);
        if let Err(error) = document.read(&folder, &text) {
            panic!("{table}.{}: {error}\n{text}", key.name);
        }
        read += 1;
    }
    assert!(read > 150, "only {read} examples");
}

#[test]
fn schemas_accept_every_example() {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("gapless.json", schema()).unwrap();
    compiler.add_resource("server.json", server_schema()).unwrap();
    let gapless = compiler.compile("gapless.json", &mut schemas).unwrap();
    let server = compiler.compile("server.json", &mut schemas).unwrap();
    for (Place { table, key }, document) in all_places().iter().filter(|(place, _)| !place.key.example.is_empty()) {
        let file: toml::Table = document.text(table, key, key.example).parse().unwrap();
        let schema = if matches!(document, Document::App) { gapless } else { server };
        let file = serde_json::to_value(&file).unwrap();
        let found = schemas.validate(&file, schema);
        assert!(found.is_ok(), "{table}.{}: {found:?}", key.name);
    }
}

#[test]
fn every_default_is_the_effect_of_an_absent_key() {
    let folder = Folder::new();
    let mut compared = 0;
    for (Place { table, key }, document) in all_places() {
        let DefaultValue::Is(default) = key.default else { continue };
        assert_ne!(default().to_string(), key.example, "{table}.{}: an example shows another value", key.name);
        let text = document.text(&table, key, &default().to_string());
        let with =
            document.read(&folder, &text).unwrap_or_else(|error| panic!("{table}.{}: {error}\n{text}", key.name));
        // The command that starts the server fills in its default.
        if matches!(document, Document::Server) && table.is_empty() && key.name == "listen" {
            assert!(with.contains(&server::LISTEN_DEFAULT.to_string()), "{with}");
            continue;
        }
        let without = document.read(&folder, &document.without(&table, key)).unwrap();
        assert_eq!(with, without, "{table}.{} = {}", key.name, default());
        compared += 1;
    }
    assert!(compared > 60, "only {compared} defaults");
}

/// A key that is read and then ignored fails here.
#[test]
fn every_example_changes_the_result() {
    let folder = Folder::new();
    let mut ignored = Vec::new();
    for (Place { table, key }, document) in all_places() {
        if key.example.is_empty() || matches!(key.default, DefaultValue::Required) {
            continue;
        }
        let with = document.read(&folder, &document.text(&table, key, key.example));
        let without = document.read(&folder, &document.without(&table, key));
        if without.is_ok() && with == without {
            ignored.push(format!("{table}.{}", key.name));
        }
    }
    assert_eq!(ignored, NO_EFFECT_ALONE);
}

#[test]
fn every_required_key_is_missed() {
    let folder = Folder::new();
    for (Place { table, key }, document) in all_places() {
        if let DefaultValue::Required = key.default {
            let error = document.read(&folder, &document.without(&table, key)).expect_err(key.name);
            assert!(error.contains("is missing"), "{table}.{}: {error}", key.name);
        }
    }
}

#[test]
fn every_choice_is_read_and_no_other() {
    let folder = Folder::new();
    for (Place { table, key }, document) in all_places() {
        let Kind::Choice(values) = key.kind else { continue };
        for (value, _) in values {
            let text = document.text(&table, key, &format!("{value:?}"));
            document.read(&folder, &text).unwrap_or_else(|error| panic!("{table}.{} = {value}: {error}", key.name));
        }
        document.read(&folder, &document.text(&table, key, "\"none\"")).expect_err(key.name);
    }
}

/// Keys whose example has no effect alone: it names the derived value, an empty file, or needs another key.
const NO_EFFECT_ALONE: [&str; 9] = [
    ".runtime",
    ".directory",
    ".env_files",
    "services.api.runtime",
    "services.api.directory",
    "services.api.env_files",
    "strategy.kind",
    "store.deadline",
    "proxy.container_config_dir",
];

/// Bounds that the reader does not check: the schema and the page have them, for editors.
const UNCHECKED: [&str; 1] = ["gates.requests.status"];

#[test]
fn every_bound_is_the_last_value_that_is_read() {
    let folder = Folder::new();
    let mut probed = 0;
    for (Place { table, key }, document) in all_places() {
        let path = format!("{table}.{}", key.name);
        let (bounds, step, written): (Bounds, u64, fn(u64) -> String) = match key.kind {
            Kind::Number(bounds) => (bounds, 1, |number| number.to_string()),
            Kind::Duration(bounds) => (bounds, 1, |ms| format!("\"{ms}ms\"")),
            Kind::WholeSeconds(bounds) => (bounds, 1000, |ms| format!("\"{ms}ms\"")),
            Kind::Size(bounds) => (bounds, 1, |bytes| format!("\"{bytes}\"")),
            Kind::Percent(bounds) => (bounds, 1, |percent| format!("\"{percent}%\"")),
            _ => continue,
        };
        let is_read = |value: u64| document.read(&folder, &document.text(&table, key, &written(value))).map(drop);
        assert_eq!(is_read(bounds.min), Ok(()), "{path}");
        if let Some(max) = bounds.max {
            assert_eq!(is_read(max), Ok(()), "{path}");
        }
        if UNCHECKED.contains(&path.as_str()) {
            continue;
        }
        if let Some(less) = bounds.min.checked_sub(step) {
            assert!(is_read(less).is_err(), "{path} = {less}");
        }
        if let Some(more) = bounds.max.and_then(|max| max.checked_add(step)) {
            assert!(is_read(more).is_err(), "{path} = {more}");
        }
        probed += 1;
    }
    assert!(probed > 70, "only {probed} bounds");
}
