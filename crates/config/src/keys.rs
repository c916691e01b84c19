//! The definition of each configuration key: its type, default, bounds and meaning. Core checks the
//! bounds again, because the API accepts configurations of any client; a test keeps both equal.
//!
//! The reader takes values by these definitions ([`Section`](crate::section::Section)). The JSON Schema, the template of
//! `gapless init` and `docs/configuration.md` are generated from them. A new key is a new [`Key`] in the list of its
//! [`Table`]; the tests in `keys/tests.rs` check it.

pub(crate) mod file;
pub(crate) mod gates;
pub(crate) mod health;
pub(crate) mod hooks;
pub(crate) mod nginx;
pub(crate) mod server;
pub(crate) mod service;
pub(crate) mod strategy;
#[cfg(test)]
mod tests;
pub(crate) mod traffic;
pub(crate) mod workload;

use crate::units::{duration_text, size_text};
use gapless_core::Millis;
use serde_json::Value;

/// One key of a table.
pub(crate) struct Key {
    /// The name in its table.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: DefaultValue,
    /// A value in TOML, other than the default; empty for tables, which have a section of their own.
    pub(crate) example: &'static str,
    /// The meaning: one or more sentences, also for editors and the template.
    pub(crate) doc: &'static str,
    /// The reason or occasion to set the key, for the reference page.
    pub(crate) when: &'static str,
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        self.name
    }
}

/// The type of a value, with its bounds.
pub(crate) enum Kind {
    Text,
    /// The name of an application, gate or hook.
    Name,
    /// A path of a URL, which begins with a slash.
    Path,
    /// One of several texts, each with its meaning.
    Choice(&'static [(&'static str, &'static str)]),
    Texts,
    Boolean,
    Number(Bounds),
    /// `30s`, or a number of seconds; bounds in milliseconds.
    Duration(Bounds),
    /// A duration without a fraction of a second.
    WholeSeconds(Bounds),
    /// `512m`, or a number of bytes; bounds in bytes.
    Size(Bounds),
    /// `1.5`, or `"1.5%"`; bounds in per cent.
    Percent(Bounds),
    /// Processors, such as 2 or 0.5.
    Cpus,
    /// `200`, `"200-299"`, or a list of them.
    Statuses,
    /// A table of environment variables.
    Variables,
    /// A table of texts whose keys are the user's own.
    TextByName,
    /// A table of JSON values by JSON Pointer.
    JsonByPointer,
    /// `[key]`.
    Table(&'static Table),
    /// `[[key]]`.
    Tables(&'static Table),
    /// `[key.NAME]`.
    Named(&'static Table),
    /// `[key.NAME]`, whose values are checked only for the environment that is read.
    Environments(&'static Table),
}

impl Kind {
    /// The definition of the table that is the value; a table without defined keys for other kinds.
    pub(crate) fn table(&self) -> &'static Table {
        static OWN_KEYS: Table = Table { schema_name: "", doc: "", groups: &[] };
        match self {
            Kind::Table(table) | Kind::Tables(table) | Kind::Named(table) | Kind::Environments(table) => table,
            _ => &OWN_KEYS,
        }
    }
}

/// The least and the greatest value that are accepted.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) min: u64,
    pub(crate) max: Option<u64>,
}

impl Bounds {
    pub(crate) const fn new(min: u64, max: u64) -> Self {
        Bounds { min, max: Some(max) }
    }

    /// No upper bound.
    pub(crate) const fn from(min: u64) -> Self {
        Bounds { min, max: None }
    }
}

/// The effect of a key that is absent.
pub(crate) enum DefaultValue {
    /// The key must be there whenever its table is.
    Required,
    /// An absent key is the same as this value, which comes from the constant that the reader uses.
    Is(fn() -> Value),
    /// The effect in words, where no single value has it.
    Described(&'static str),
}

/// A table, or the file itself.
pub(crate) struct Table {
    /// The name of its definition in the JSON Schema.
    pub(crate) schema_name: &'static str,
    pub(crate) doc: &'static str,
    /// The keys, in the order of the reference page; a group may be part of several tables.
    pub(crate) groups: &'static [&'static [&'static Key]],
}

impl Table {
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.groups.iter().flat_map(|group| group.iter().copied())
    }

    /// `key` is one of the keys of this table.
    pub(crate) fn has(&self, key: &'static Key) -> bool {
        self.groups.is_empty() || self.keys().any(|own| std::ptr::eq(own, key))
    }
}

/// A duration as it is written in the file.
fn duration(duration: Millis) -> Value {
    duration_text(duration).into()
}

/// A size as it is written in the file.
fn size(bytes: u64) -> Value {
    size_text(bytes).into()
}

/// A percentage as it is written in the file.
fn percent(percent: f64) -> Value {
    format!("{percent}%").into()
}

/// Statuses as they are written in the file: as a range if they are one, else as a list.
fn statuses(statuses: &[u16]) -> Value {
    match (statuses.first(), statuses.last()) {
        (Some(first), Some(last)) if usize::from(last - first) + 1 == statuses.len() => {
            format!("{first}-{last}").into()
        }
        _ => statuses.into(),
    }
}

/// The table at the top of the file that has a key of that name: empty for the top itself, `None` if no table has it.
pub(crate) fn table_of(name: &str) -> Option<&'static str> {
    let has = |table: &Table| table.keys().any(|key| key.name == name);
    if has(&file::TABLE) {
        return Some("");
    }
    let mut tables: Vec<_> = file::TABLE.keys().filter(|key| matches!(key.kind, Kind::Table(_))).collect();
    tables.sort_by_key(|key| key.name);
    tables.into_iter().find(|key| has(key.kind.table())).map(|key| key.name)
}
