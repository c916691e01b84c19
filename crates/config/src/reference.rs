//! The reference page `docs/configuration.md`, generated from the definitions of the keys.

use crate::keys::{self, Bounds, DefaultValue, Key, Kind, Table};
use crate::units::{duration_text, size_text};
use crate::wrap::wrap;
use gapless_core::Millis;
use std::fmt::Write;

/// The longest line of the page, in characters.
const LINE_CHARS_MAX: usize = 120;

const INTRODUCTION: &str = r#"# Configuration

Every key of [`gapless.toml`](#gaplesstoml), which describes an application, and of [`server.toml`](#servertoml), which
configures the server. Both files are TOML. An unknown key, a wrong type and a value out of bounds are errors, reported
with file, line and column.

- `gapless init` writes a commented `gapless.toml`; `gapless validate` checks it.
- For editors: [gapless.schema.json](gapless.schema.json) (also printed by `gapless schema`) and
  [server.schema.json](server.schema.json).

This page is generated from the definitions in `crates/config/src/keys`. After a change there run
`UPDATE_DOCS=1 cargo test -p gapless-config --test docs`, and commit the result.

## Types

| type | in the file |
| --- | --- |
| text | `"text"` |
| list of texts | `["one", "two"]` |
| boolean | `true` or `false` |
| number | a whole number, such as `3` |
| duration | a text with units from days to milliseconds, such as `"30s"`, `"1m30s"`, `"500ms"` or `"1d"`; or whole seconds, such as `30` |
| size | a text such as `"512m"`, `"1g"` or `"64 KiB"`, each unit 1024 times the one before; or whole bytes |
| percentage | a text or number such as `"1.5%"` or `1.5` |
| processors | a number such as `2` or `0.5`, with three decimals at most |
| name | a text of 1 to 63 lower-case letters, digits and hyphens |
| path | a text that begins with a slash |
| statuses | a number such as `200`, a range such as `"200-399"`, or a list of both |
| table | `[key]`, or `key = { … }` |
| list of tables | `[[key]]` once for each, or `key = [{ … }, { … }]` |
"#;

/// The text of `docs/configuration.md`: each key of `gapless.toml` and `server.toml` with its type, default, bounds, an
/// example, and the reason to set it.
#[must_use]
pub fn reference() -> String {
    let mut page = Page { text: INTRODUCTION.to_owned(), described: Vec::new() };
    page.heading(2, "gapless.toml", keys::file::TABLE.doc);
    page.table(&keys::file::TABLE, "");
    page.heading(2, "server.toml", keys::server::TABLE.doc);
    page.paragraph(
        "The file is named by `gapless server --config FILE`, else by `GAPLESS_CONFIG`; without both it is \
         `/etc/gapless/server.toml`, if that exists. Flags and environment variables override it. Paths are relative \
         to the folder of the file. Passwords and keys are in files of their own, which the server reads when it \
         starts, so that reading this file does not reveal them.",
    );
    page.table(&keys::server::TABLE, "");
    page.text
}

struct Page {
    text: String,
    /// The keys that have an entry: tables share keys, and an entry is written once.
    described: Vec<&'static Key>,
}

impl Page {
    fn heading(&mut self, level: usize, title: &str, doc: &str) {
        let _ = write!(self.text, "\n{} {title}\n", "#".repeat(level));
        self.paragraph(doc);
    }

    fn paragraph(&mut self, text: &str) {
        let _ = write!(self.text, "\n{}\n", wrap(text, "", LINE_CHARS_MAX));
    }

    /// The entries of the keys of `table`, then the sections of the tables in it. `prefix` is its path with a dot behind.
    fn table(&mut self, table: &'static Table, prefix: &str) {
        let (new, known): (Vec<_>, Vec<_>) =
            table.keys().partition(|key| !self.described.iter().any(|described| std::ptr::eq(*described, *key)));
        if !new.is_empty() {
            self.text.push('\n');
        }
        for key in &new {
            self.described.push(key);
            self.entry(key);
        }
        if !known.is_empty() {
            let names: Vec<_> = known.iter().map(|key| format!("`{}`", key.name)).collect();
            self.paragraph(&format!("Further keys, with the meaning described above: {}.", names.join(", ")));
        }
        for key in new {
            let path = format!("{prefix}{}", key.name);
            let (title, inner) = match key.kind {
                Kind::Table(_) => (format!("`[{path}]`"), format!("{path}.")),
                Kind::Tables(_) => (format!("`[[{path}]]`"), format!("{path}.")),
                Kind::Named(_) => (format!("`[{path}.NAME]`"), format!("{path}.NAME.")),
                _ => continue,
            };
            self.heading(3, &title, key.kind.table().doc);
            self.table(key.kind.table(), &inner);
        }
    }

    fn entry(&mut self, key: &Key) {
        let mut facts = vec![format!("**`{}`**", key.name), type_text(&key.kind)];
        facts.push(match &key.default {
            DefaultValue::Required => "required".to_owned(),
            DefaultValue::Is(value) => format!("default `{}`", value()),
            DefaultValue::Described(text) if text.starts_with("required") => (*text).to_owned(),
            DefaultValue::Described(text) => format!("default: {text}"),
        });
        if !key.example.is_empty() {
            facts.push(format!("example `{} = {}`", key.name, key.example));
        }
        let _ = writeln!(self.text, "- {}  ", facts.join(" · "));
        let _ = writeln!(self.text, "{}", wrap(&format!("{} {}", key.doc, key.when), "  ", LINE_CHARS_MAX));
        if let Kind::Choice(values) = key.kind {
            for (value, doc) in values {
                let _ = writeln!(self.text, "  - `{value:?}`: {doc}");
            }
        }
    }
}

/// The type with its bounds.
fn type_text(kind: &Kind) -> String {
    let duration = |ms| duration_text(Millis(ms));
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Name => "name".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Choice(_) => "one of the texts below".to_owned(),
        Kind::Texts => "list of texts".to_owned(),
        Kind::Boolean => "boolean".to_owned(),
        Kind::Number(bounds) => bounds_text("number", *bounds, |number| number.to_string()),
        Kind::Duration(bounds) => bounds_text("duration", *bounds, duration),
        Kind::WholeSeconds(bounds) => bounds_text("duration in whole seconds", *bounds, duration),
        Kind::Size(bounds) => bounds_text("size", *bounds, size_text),
        Kind::Percent(bounds) => bounds_text("percentage", *bounds, |percent| format!("{percent}%")),
        Kind::Cpus => "processors from 0.01 to 1024".to_owned(),
        Kind::Statuses => "statuses".to_owned(),
        Kind::Variables => "table of texts, numbers and booleans by the name of the variable".to_owned(),
        Kind::TextByName => "table of texts by name".to_owned(),
        Kind::JsonByPointer => "table of texts, numbers and booleans by JSON Pointer".to_owned(),
        Kind::Table(_) => "table".to_owned(),
        Kind::Tables(_) => "list of tables".to_owned(),
        Kind::Named(_) | Kind::Environments(_) => "tables by name".to_owned(),
    }
}

fn bounds_text(name: &str, bounds: Bounds, text: impl Fn(u64) -> String) -> String {
    // The greatest value of a type is no bound that a user meets.
    match bounds.max.filter(|max| ![u64::from(u32::MAX), i64::MAX as u64].contains(max)) {
        Some(max) => format!("{name} from {} to {}", text(bounds.min), text(max)),
        None if bounds.min == 0 => name.to_owned(),
        None => format!("{name} from {}", text(bounds.min)),
    }
}
