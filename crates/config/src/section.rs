//! One table of the file: finds its values, also in the tables that it inherits from, and reports unknown and missing
//! keys.

mod values;

use crate::keys::{Key, Table};
use crate::report::Report;
use crate::suggest::{right_table, similar_key};
use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One table of the file. The table of the same name of an environment, if there is one, overrides it.
pub(crate) struct Section<'a> {
    report: &'a Report,
    /// The keys that it may have.
    table: &'static Table,
    /// Its path without environments, with a dot behind it, as the rules of the spec refer to it.
    base: String,
    /// The table of the environment first: a key is taken from the first layer that has it.
    layers: Vec<Layer<'a>>,
    /// The number of its own layers; the layers behind them are inherited, from a table that has further keys.
    own: usize,
    /// The keys that the reader has taken: any other key is unknown here.
    taken: RefCell<Vec<&'static str>>,
    /// Required keys that are absent, each with an advice.
    missing: RefCell<Vec<(&'static str, &'static str)>>,
}

/// A table as it is in the file.
#[derive(Clone)]
struct Layer<'a> {
    /// Its path with a dot behind it, such as `health.`; empty for the file itself.
    prefix: String,
    table: &'a DeTable<'a>,
}

impl<'a> Layer<'a> {
    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }
}

/// Keys with the same meaning in two forms: an environment that has one of them inherits none of them.
const EITHER_OR: [&[&str]; 1] = [&["hosts", "routes"]];

/// Tables that an environment does not inherit key by key: their further keys depend on the first.
const AS_A_WHOLE: [&str; 1] = ["strategy"];

/// A value and its place in the file.
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

impl<'a> Section<'a> {
    /// The file itself, with the keys of `keys`.
    pub(crate) fn root(report: &'a Report, table: &'a DeTable<'a>, keys: &'static Table) -> Self {
        Section::of(report, keys, String::new(), vec![Layer { prefix: String::new(), table }])
    }

    fn of(report: &'a Report, table: &'static Table, base: String, layers: Vec<Layer<'a>>) -> Self {
        let own = layers.len();
        Section { report, table, base, layers, own, taken: RefCell::default(), missing: RefCell::default() }
    }

    /// The same table with the keys of `over` in place of its own.
    pub(crate) fn overridden_by(self, over: Section<'a>) -> Self {
        let layers = over.layers.into_iter().chain(self.layers).collect();
        Section::of(self.report, self.table, self.base, layers)
    }

    /// The table `[key.NAME]`; it inherits the keys that it does not have from this table.
    pub(crate) fn heir(&self, key: &'static Key, name: &str) -> Option<Section<'a>> {
        let table = key.kind.table();
        let outer = self.layers_of(key.name, self.layers.len());
        let heir = Section::of(self.report, table, String::new(), outer).layers_of(name, usize::MAX);
        let own = heir.len();
        let layers = heir.into_iter().chain(self.layers.iter().cloned()).collect();
        let section = Section::of(self.report, table, format!("{}{}.{name}.", self.base, key.name), layers);
        (own > 0).then_some(Section { own, ..section })
    }

    /// The table inherits from a table that has further keys.
    pub(crate) fn is_heir(&self) -> bool {
        self.own < self.layers.len()
    }

    /// The table has `key` itself, and does not inherit it.
    pub(crate) fn has_own(&self, key: &'static Key) -> bool {
        self.layers.iter().take(self.own).any(|layer| layer.get(key.name).is_some())
    }

    /// Takes the value of `key`, of any type.
    pub(crate) fn value(&self, key: &'static Key) -> Option<&'a Spanned<DeValue<'a>>> {
        self.note(key);
        let (_, value) = self.find(key.name)?;
        self.record_span(key.name, "", value.span());
        Some(value)
    }

    /// Records the place of a value, or of an item of it, under its path in the file and under its path without
    /// environments.
    fn record_span(&self, key: &str, item: &str, span: Range<usize>) {
        self.report.record_span(format!("{}{item}", self.path(key)), span.clone());
        self.report.record_span(format!("{}{key}{item}", self.base), span);
    }

    /// Records the place of `key` under the `path` that the rules of the spec have for it.
    pub(crate) fn record_span_as(&self, key: &'static Key, path: String) {
        if let Some((_, value)) = self.find(key.name) {
            self.report.record_span(path, value.span());
        }
    }

    /// The path of `key` from the top of the file.
    pub(crate) fn path(&self, key: impl AsRef<str>) -> String {
        let key = key.as_ref();
        let prefix = self.find(key).map_or(&self.base, |(layer, _)| &layer.prefix);
        format!("{prefix}{key}")
    }

    pub(crate) fn has(&self, key: &'static Key) -> bool {
        self.find(key.name).is_some()
    }

    fn find(&self, key: &str) -> Option<(&Layer<'a>, &'a Spanned<DeValue<'a>>)> {
        let others = EITHER_OR.iter().find(|keys| keys.contains(&key)).copied().unwrap_or(&[]);
        let layer = self
            .layers
            .iter()
            .find(|layer| layer.get(key).is_some() || others.iter().any(|other| layer.get(other).is_some()))?;
        Some((layer, layer.get(key)?))
    }

    /// The table `[key]`.
    pub(crate) fn table(&self, key: &'static Key) -> Option<Section<'a>> {
        self.value(key)?;
        self.table_of(key, if AS_A_WHOLE.contains(&key.name) { 1 } else { usize::MAX })
    }

    /// The table `[key]` without inherited keys.
    pub(crate) fn own_table(&self, key: &'static Key) -> Option<Section<'a>> {
        self.note(key);
        let own = self.layers.iter().take(self.own).filter(|layer| layer.get(key.name).is_some());
        self.table_of(key, own.count())
    }

    fn table_of(&self, key: &'static Key, count: usize) -> Option<Section<'a>> {
        let layers = self.layers_of(key.name, count);
        let base = format!("{}{}.", self.base, key.name);
        (!layers.is_empty()).then(|| Section::of(self.report, key.kind.table(), base, layers))
    }

    /// The first `count` of the tables `key`.
    fn layers_of(&self, key: &str, count: usize) -> Vec<Layer<'a>> {
        let layers = self.layers.iter().filter(|layer| layer.get(key).is_some()).take(count);
        let tables = layers.filter_map(|layer| {
            let (path, value) = (format!("{}{key}", layer.prefix), layer.get(key)?);
            self.report.record_span(path.clone(), value.span());
            match value.get_ref().as_table() {
                Some(table) => Some(Layer { prefix: format!("{path}."), table }),
                None => self.wrong_type(value, &path, &format!("a table, `[{path}]`")),
            }
        });
        tables.collect()
    }

    /// The table `name`, whose name is the user's own.
    pub(crate) fn named(&self, name: &str) -> Option<Section<'a>> {
        let (layer, value) = self.find(name)?;
        let path = format!("{}{name}", layer.prefix);
        self.report.record_span(path.clone(), value.span());
        match value.get_ref().as_table() {
            Some(table) => {
                let layers = vec![Layer { prefix: format!("{path}."), table }];
                Some(Section::of(self.report, self.table, String::new(), layers))
            }
            None => self.wrong_type(value, &path, &format!("a table, `[{path}]`")),
        }
    }

    /// The tables `[[key]]`.
    pub(crate) fn tables(&self, key: &'static Key) -> Vec<Section<'a>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let path = self.path(key);
        let expected = format!("a list of tables, each `[[{path}]]`");
        let Some(array) = value.get_ref().as_array() else {
            let _: Option<()> = self.wrong_type(value, &path, &expected);
            return Vec::new();
        };
        let sections = array.iter().enumerate().filter_map(|(at, item)| {
            self.record_span(key.name, &format!("[{at}]"), item.span());
            let path = format!("{path}[{at}]");
            match item.get_ref().as_table() {
                Some(table) => {
                    let prefix = format!("{path}.");
                    let layers = vec![Layer { prefix: prefix.clone(), table }];
                    Some(Section::of(self.report, key.kind.table(), prefix, layers))
                }
                None => self.wrong_type(item, &path, "a table"),
            }
        });
        sections.collect()
    }

    /// All keys and values of a table whose keys are the user's own; of equal keys the last one counts.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a Spanned<Cow<'a, str>>, &'a Spanned<DeValue<'a>>)> {
        self.layers.iter().rev().flat_map(|layer| layer.table.iter())
    }

    /// Counts `key` as taken: it is possible here, and read elsewhere.
    pub(crate) fn note(&self, key: &'static Key) {
        debug_assert!(self.table.has(key), "`{}{}` is not in the table of its keys", self.base, key.name);
        self.taken.borrow_mut().push(key.name);
    }

    /// Records that the required `key` is absent, for [`Section::finish`].
    pub(crate) fn missing(&self, key: &'static Key, help: &'static str) {
        self.missing.borrow_mut().push((key.name, help));
    }

    /// Reports every key that was not taken, and every missing key unless it is only misspelt.
    pub(crate) fn finish(self) {
        let taken = self.taken.borrow();
        let mut meant = Vec::new();
        for layer in self.layers.iter().take(self.own) {
            for (key, _) in layer.table.iter().filter(|(key, _)| !taken.contains(&key.get_ref().as_ref())) {
                meant.extend(self.report_unknown(layer, key, &taken));
            }
        }
        for (key, help) in self.missing.borrow().iter().filter(|(key, _)| !meant.contains(key)) {
            let table = self.base.trim_end_matches('.');
            self.report.missing(table, &self.path(key), help);
        }
    }

    /// Reports an unknown key; returns the key that was probably meant.
    fn report_unknown(
        &self,
        layer: &Layer<'_>,
        key: &Spanned<Cow<'_, str>>,
        possible: &[&'static str],
    ) -> Option<&'static str> {
        let name: &str = key.get_ref();
        let shown: String = name.chars().take(60).collect();
        let path = format!("{}{shown}", layer.prefix);
        let meant = similar_key(name, possible);
        let help = meant
            .map(|meant| format!("did you mean `{meant}`?"))
            .or_else(|| if self.report.is_of_server() { None } else { right_table(name) });
        self.report.at(key.span(), format!("there is no key `{path}`"), "unknown key", help);
        meant
    }
}
