//! The JSON Schemas of `gapless.toml` and `server.toml` for editors, generated from the definitions of the keys.

use crate::keys::{self, DefaultValue, Key, Kind, Table};
use serde_json::{Map, Value, json};

/// The names of applications, environments, gates and hooks.
const NAME_PATTERN: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";

/// The JSON Schema of `gapless.toml`.
#[must_use]
pub fn schema() -> Value {
    of_file("gapless.toml", &keys::file::TABLE)
}

/// The JSON Schema of `server.toml`.
#[must_use]
pub fn server_schema() -> Value {
    of_file("server.toml", &keys::server::TABLE)
}

fn of_file(title: &str, table: &'static Table) -> Value {
    let mut definitions = Map::new();
    let mut schema = of_table(table, &mut definitions);
    schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("title".to_owned(), title.into());
    schema.insert("$defs".to_owned(), definitions.into());
    schema.into()
}

/// The schema of a table; adds those of the tables in it to `definitions`.
fn of_table(table: &'static Table, definitions: &mut Map<String, Value>) -> Map<String, Value> {
    let properties: Map<_, _> =
        table.keys().map(|key| (key.name.to_owned(), of_key(key, definitions).into())).collect();
    let required: Vec<_> =
        table.keys().filter(|key| matches!(key.default, DefaultValue::Required)).map(|key| key.name).collect();
    let mut schema = Map::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("description".to_owned(), table.doc.into());
    schema.insert("properties".to_owned(), properties.into());
    schema.insert("additionalProperties".to_owned(), false.into());
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    schema
}

fn of_key(key: &'static Key, definitions: &mut Map<String, Value>) -> Map<String, Value> {
    let mut schema = match of_kind(&key.kind, definitions) {
        Value::Object(schema) => schema,
        _ => Map::new(),
    };
    schema.insert("description".to_owned(), key.doc.into());
    if let DefaultValue::Is(value) = key.default {
        schema.insert("default".to_owned(), value());
    }
    schema
}

fn of_kind(kind: &'static Kind, definitions: &mut Map<String, Value>) -> Value {
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Name => json!({ "type": "string", "pattern": NAME_PATTERN }),
        Kind::Path => json!({ "type": "string", "pattern": "^/" }),
        Kind::Choice(values) => {
            let values = values.iter();
            let values = values.map(|(value, doc)| json!({ "type": "string", "const": value, "description": doc }));
            json!({ "oneOf": values.collect::<Vec<_>>() })
        }
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Number(bounds) => {
            let mut schema = json!({ "type": "integer", "minimum": bounds.min });
            if let Some(max) = bounds.max {
                schema["maximum"] = max.into();
            }
            schema
        }
        Kind::Duration(_) | Kind::WholeSeconds(_) => json!({ "anyOf": [
            {
                "type": "string",
                "pattern": "^\\s*([0-9]+(\\.[0-9]+)?(d|h|ms|m|s)\\s*)+$",
                "examples": ["30s", "1m30s", "500ms"]
            },
            { "type": "integer", "minimum": 0, "description": "Seconds." }
        ] }),
        Kind::Size(_) => json!({ "anyOf": [
            {
                "type": "string",
                "pattern": "^\\s*[0-9]+(\\.[0-9]+)?\\s*([kKmMgGtT]?[bB]?|[kKmMgGtT][iI][bB])\\s*$",
                "examples": ["512m", "64 KiB"]
            },
            { "type": "integer", "minimum": 0, "description": "Bytes." }
        ] }),
        Kind::Percent(_) => json!({ "anyOf": [
            { "type": "number", "minimum": 0, "maximum": 100 },
            { "type": "string", "pattern": "^\\s*[0-9]+(\\.[0-9]+)?\\s*%\\s*$", "examples": ["10%", "1.5%"] }
        ] }),
        Kind::Cpus => json!({ "type": "number", "minimum": 0.01 }),
        Kind::Statuses => json!({ "anyOf": [
            { "type": "integer", "minimum": 200, "maximum": 599 },
            { "type": "string", "pattern": "^\\s*[0-9]{3}\\s*(-\\s*[0-9]{3}\\s*)?$" },
            { "type": "array", "minItems": 1, "items": { "type": ["integer", "string"] } }
        ] }),
        Kind::Variables => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
            "additionalProperties": { "type": ["string", "integer", "number", "boolean"] }
        }),
        Kind::TextByName => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::JsonByPointer => json!({ "type": "object", "additionalProperties": true }),
        Kind::Table(table) => reference(table, definitions),
        Kind::Tables(table) => json!({ "type": "array", "items": reference(table, definitions) }),
        Kind::Named(table) => json!({ "type": "object", "additionalProperties": reference(table, definitions) }),
        // An environment inherits required keys, so that it has none itself.
        Kind::Environments(_) => json!({
            "type": "object",
            "propertyNames": { "pattern": NAME_PATTERN },
            "additionalProperties": { "type": "object" }
        }),
    }
}

/// A reference to the definition of `table`, which is added to `definitions`.
fn reference(table: &'static Table, definitions: &mut Map<String, Value>) -> Value {
    if !definitions.contains_key(table.schema_name) {
        let definition = of_table(table, definitions);
        definitions.insert(table.schema_name.to_owned(), definition.into());
    }
    json!({ "$ref": format!("#/$defs/{}", table.schema_name) })
}
