//! One table of the file: its values read by type, and what nobody asked for told as a mistake. Which keys a table has
//! is thereby said once, where they are read.

use crate::report::Report;
use crate::shape;
use crate::units::{cpu_millis, parse_duration, parse_size};
use gapless_core::Millis;
use std::cell::RefCell;
use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What people who come from other tools write.
const ALIASES: [(&str, &str); 18] = [
    ("app", "name"),
    ("application", "name"),
    ("service", "name"),
    ("cmd", "command"),
    ("args", "command"),
    ("cwd", "directory"),
    ("workdir", "directory"),
    ("instances", "replicas"),
    ("scale", "replicas"),
    ("domain", "hosts"),
    ("domains", "hosts"),
    ("environment", "env"),
    ("variables", "env"),
    ("env_file", "env_files"),
    ("healthcheck", "health"),
    ("ports", "port"),
    ("cpu", "cpus"),
    ("mem_limit", "memory"),
];

/// One table of the file; with an environment's table of the same name laid over it, if there is one.
pub(crate) struct Section<'a> {
    report: &'a Report,
    /// Its path as if there were no environments, with a dot behind it, as the spec's own rules know it.
    base: String,
    /// The environment's table first: a key is taken from the first that has it.
    layers: Vec<Layer<'a>>,
    /// How many of the layers are its own: those behind them are inherited from a table that has further keys.
    own: usize,
    asked: RefCell<Vec<&'static str>>,
    /// Keys that have to be there and are not, with what to do.
    missing: RefCell<Vec<(&'static str, &'static str)>>,
}

/// A table as it stands in the file.
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

/// Keys that say the same in two ways: an environment that has one of them inherits none of them.
const EITHER_OR: [&[&str]; 1] = [&["hosts", "routes"]];

/// Tables that an environment does not inherit key by key: what they have depends on their first key.
const AS_A_WHOLE: [&str; 1] = ["strategy"];

/// A value and where it stands.
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

impl<'a> Section<'a> {
    pub(crate) fn new(report: &'a Report, prefix: String, table: &'a DeTable<'a>) -> Self {
        Section::of(report, prefix.clone(), vec![Layer { prefix, table }])
    }

    fn of(report: &'a Report, base: String, layers: Vec<Layer<'a>>) -> Self {
        let own = layers.len();
        Section { report, base, layers, own, asked: RefCell::default(), missing: RefCell::default() }
    }

    /// The same with `over` laid over it: its keys go before those of this one.
    pub(crate) fn with(self, over: Section<'a>) -> Self {
        Section::of(self.report, self.base, over.layers.into_iter().chain(self.layers).collect())
    }

    /// The table `name` of this one's table `key`, which is of a name of the user's own; it inherits what it does not have
    /// from this one.
    pub(crate) fn heir(&self, key: &str, name: &str) -> Option<Section<'a>> {
        let outer = self.layers_of(key, self.layers.len());
        let heir = Section::of(self.report, String::new(), outer).layers_of(name, usize::MAX);
        let own = heir.len();
        let layers = heir.into_iter().chain(self.layers.iter().cloned()).collect();
        let section = Section::of(self.report, format!("{}{key}.{name}.", self.base), layers);
        (own > 0).then_some(Section { own, ..section })
    }

    /// Whether it inherits from a table that has further keys.
    pub(crate) fn is_heir(&self) -> bool {
        self.own < self.layers.len()
    }

    /// Whether it has `key` itself, and does not inherit it.
    pub(crate) fn has_own(&self, key: &str) -> bool {
        self.layers.iter().take(self.own).any(|layer| layer.get(key).is_some())
    }

    /// The value of `key`, whatever it is.
    pub(crate) fn value(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().push(key);
        let (_, value) = self.find(key)?;
        self.place(key, "", value.span());
        Some(value)
    }

    /// Remembers where a value, or an item of it, stands: by the path that it has, and by that which it would have
    /// without environments.
    fn place(&self, key: &str, item: &str, span: Range<usize>) {
        self.report.place(format!("{}{item}", self.path(key)), span.clone());
        self.report.place(format!("{}{key}{item}", self.base), span);
    }

    /// The spec's rules know `key` by another path.
    pub(crate) fn known_as(&self, key: &str, path: String) {
        if let Some((_, value)) = self.find(key) {
            self.report.place(path, value.span());
        }
    }

    /// The path of `key` from the beginning of the file.
    pub(crate) fn path(&self, key: &str) -> String {
        let prefix = self.find(key).map_or(&self.base, |(layer, _)| &layer.prefix);
        format!("{prefix}{key}")
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    fn find(&self, key: &str) -> Option<(&Layer<'a>, &'a Spanned<DeValue<'a>>)> {
        let others = EITHER_OR.iter().find(|keys| keys.contains(&key)).copied().unwrap_or(&[]);
        let layer = self
            .layers
            .iter()
            .find(|layer| layer.get(key).is_some() || others.iter().any(|other| layer.get(other).is_some()))?;
        Some((layer, layer.get(key)?))
    }

    pub(crate) fn text(&self, key: &'static str) -> Option<Located<String>> {
        let value = self.value(key)?;
        let text = self.as_text(value, &self.path(key))?;
        Some(Located { value: text, span: value.span() })
    }

    pub(crate) fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Boolean(is_so) => Some(*is_so),
            _ => self.wrong(value, &self.path(key), "`true` or `false`"),
        }
    }

    /// A whole number that fits in `T`; its closer bounds are the spec's.
    pub(crate) fn number<T: FromStr>(&self, key: &'static str) -> Option<T> {
        self.as_number(self.value(key)?, &self.path(key))
    }

    pub(crate) fn as_number<T: FromStr>(&self, value: &Spanned<DeValue<'_>>, path: &str) -> Option<T> {
        let Some(number) = value.get_ref().as_integer() else {
            let help = value.get_ref().as_str().filter(|text| text.parse::<i64>().is_ok());
            return self.wrong_but(
                value,
                path,
                "a whole number",
                help.map(|text| format!("write {text} without quotes")),
            );
        };
        let parsed = i128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string());
        let parsed = parsed.and_then(|decimal| decimal.parse().ok());
        if parsed.is_none() {
            self.report.at(value.span(), format!("`{path}` cannot be {number}"), "too small or too large", None);
        }
        parsed
    }

    pub(crate) fn duration(&self, key: &'static str) -> Option<Millis> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Integer(_) => Some(Millis::from_secs(self.as_number(value, &self.path(key))?)),
            DeValue::String(text) => self.accept(value.span(), &self.path(key), parse_duration(text)),
            _ => self.wrong(value, &self.path(key), "a duration such as \"30s\", or whole seconds"),
        }
    }

    pub(crate) fn size(&self, key: &'static str) -> Option<u64> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Integer(_) => self.as_number(value, &self.path(key)),
            DeValue::String(text) => self.accept(value.span(), &self.path(key), parse_size(text)),
            _ => self.wrong(value, &self.path(key), "a size such as \"512m\", or whole bytes"),
        }
    }

    /// A number from 0 to 100: `1.5`, `1` or `"1.5%"`.
    pub(crate) fn percent(&self, key: &'static str) -> Option<f64> {
        let value = self.value(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse::<f64>().ok(),
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            DeValue::String(text) => text.trim().strip_suffix('%').and_then(|text| text.trim().parse::<f64>().ok()),
            _ => None,
        };
        match number.filter(|number| (0.0..=100.0).contains(number)) {
            Some(number) => Some(number),
            None => self.wrong(value, &self.path(key), "a percentage from 0 to 100, such as \"1.5%\""),
        }
    }

    pub(crate) fn cpus(&self, key: &'static str) -> Option<u64> {
        let value = self.value(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse::<f64>().ok(),
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            _ => None,
        };
        match number {
            Some(number) => self.accept(value.span(), &self.path(key), cpu_millis(number)),
            None => self.wrong(value, &self.path(key), "a number of processors such as 2 or 0.5"),
        }
    }

    /// An array of texts.
    pub(crate) fn texts(&self, key: &'static str) -> Option<Vec<Located<String>>> {
        let value = self.value(key)?;
        let path = self.path(key);
        let Some(array) = value.get_ref().as_array() else {
            let help = value.get_ref().as_str().map(|text| format!("write [{text:?}]"));
            return self.wrong_but(value, &path, "a list of texts, such as [\"a\", \"b\"]", help);
        };
        let texts = array.iter().enumerate().filter_map(|(at, item)| {
            self.place(key, &format!("[{at}]"), item.span());
            let path = format!("{path}[{at}]");
            Some(Located { value: self.as_text(item, &path)?, span: item.span() })
        });
        Some(texts.collect())
    }

    /// The table `[key]`.
    pub(crate) fn table(&self, key: &'static str) -> Option<Section<'a>> {
        self.value(key)?;
        let tables = self.layers_of(key, if AS_A_WHOLE.contains(&key) { 1 } else { usize::MAX });
        (!tables.is_empty()).then(|| Section::of(self.report, format!("{}{key}.", self.base), tables))
    }

    /// The same, without what is inherited.
    pub(crate) fn own_table(&self, key: &'static str) -> Option<Section<'a>> {
        self.noted(key);
        let tables =
            self.layers_of(key, self.layers.iter().take(self.own).filter(|layer| layer.get(key).is_some()).count());
        (!tables.is_empty()).then(|| Section::of(self.report, format!("{}{key}.", self.base), tables))
    }

    /// The first `count` of the tables `key`.
    fn layers_of(&self, key: &str, count: usize) -> Vec<Layer<'a>> {
        let layers = self.layers.iter().filter(|layer| layer.get(key).is_some()).take(count);
        let tables = layers.filter_map(|layer| {
            let (path, value) = (format!("{}{key}", layer.prefix), layer.get(key)?);
            self.report.place(path.clone(), value.span());
            match value.get_ref().as_table() {
                Some(table) => Some(Layer { prefix: format!("{path}."), table }),
                None => self.wrong(value, &path, &format!("a table, `[{path}]`")),
            }
        });
        tables.collect()
    }

    /// The table of a name of the user's own.
    pub(crate) fn named(&self, name: &str) -> Option<Section<'a>> {
        let (layer, value) = self.find(name)?;
        let path = format!("{}{name}", layer.prefix);
        self.report.place(path.clone(), value.span());
        match value.get_ref().as_table() {
            Some(table) => {
                Some(Section::of(self.report, String::new(), vec![Layer { prefix: format!("{path}."), table }]))
            }
            None => self.wrong(value, &path, &format!("a table, `[{path}]`")),
        }
    }

    /// `key` is read elsewhere.
    pub(crate) fn noted(&self, key: &'static str) {
        self.asked.borrow_mut().push(key);
    }

    /// The texts of an array, as far as it is one; nothing is told of what it has else.
    pub(crate) fn texts_anyway(&self, key: &str) -> Vec<String> {
        let array = self.find(key).and_then(|(_, value)| value.get_ref().as_array());
        let texts = array.into_iter().flat_map(|array| array.iter());
        texts.filter_map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
    }

    /// The tables `[[key]]`.
    pub(crate) fn tables(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let path = self.path(key);
        let expected = format!("a list of tables, each `[[{path}]]`");
        let Some(array) = value.get_ref().as_array() else {
            let _: Option<()> = self.wrong(value, &path, &expected);
            return Vec::new();
        };
        let sections = array.iter().enumerate().filter_map(|(at, item)| {
            self.place(key, &format!("[{at}]"), item.span());
            let path = format!("{path}[{at}]");
            match item.get_ref().as_table() {
                Some(table) => Some(Section::new(self.report, format!("{path}."), table)),
                None => self.wrong(item, &path, "a table"),
            }
        });
        sections.collect()
    }

    /// All keys and values of a table whose keys are the user's own; of those that are there twice the last one counts.
    pub(crate) fn entries(
        &self,
    ) -> impl Iterator<Item = (&'a Spanned<std::borrow::Cow<'a, str>>, &'a Spanned<DeValue<'a>>)> {
        self.layers.iter().rev().flat_map(|layer| layer.table.iter())
    }

    /// Tells of every key that was not asked for, and of those that are missing.
    pub(crate) fn finish(self) {
        let asked = self.asked.borrow();
        let mut meant = Vec::new();
        for layer in self.layers.iter().take(self.own) {
            for (key, _) in layer.table.iter().filter(|(key, _)| !asked.contains(&key.get_ref().as_ref())) {
                meant.extend(self.tell_of_unknown(layer, key, &asked));
            }
        }
        for (key, help) in self.missing.borrow().iter().filter(|(key, _)| !meant.contains(key)) {
            let table = self.base.trim_end_matches('.');
            self.report.missing(table, &self.path(key), help);
        }
    }

    /// Tells of a key that nobody asked for; what was probably meant.
    fn tell_of_unknown(
        &self,
        layer: &Layer<'_>,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        asked: &[&'static str],
    ) -> Option<&'static str> {
        let name: &str = key.get_ref();
        let shown: String = name.chars().take(60).collect();
        let path = format!("{}{shown}", layer.prefix);
        let known = known_as(name, asked);
        let help = known
            .map(|known| format!("did you mean `{known}`?"))
            .or_else(|| if self.report.is_of_server() { None } else { table_with(name) });
        self.report.at(key.span(), format!("there is no key `{path}`"), "unknown key", help);
        known
    }

    fn as_text(&self, value: &Spanned<DeValue<'_>>, path: &str) -> Option<String> {
        match value.get_ref().as_str() {
            Some(text) => Some(text.to_owned()),
            None => self.wrong(value, path, "a text in quotes"),
        }
    }

    /// Says that `value` is of the wrong type.
    pub(crate) fn wrong<T>(&self, value: &Spanned<DeValue<'_>>, path: &str, expected: &str) -> Option<T> {
        self.wrong_but(value, path, expected, None)
    }

    /// The same, with what to write instead.
    fn wrong_but<T>(
        &self,
        value: &Spanned<DeValue<'_>>,
        path: &str,
        expected: &str,
        help: Option<String>,
    ) -> Option<T> {
        let label = match value.get_ref() {
            DeValue::String(_) => "this is a text",
            DeValue::Integer(_) => "this is a whole number",
            DeValue::Float(_) => "this is a number with decimals",
            DeValue::Boolean(_) => "this is true or false",
            DeValue::Datetime(_) => "this is a date or time",
            DeValue::Array(_) => "this is a list",
            DeValue::Table(_) => "this is a table",
        };
        self.report.at(value.span(), format!("`{path}` must be {expected}"), label, help);
        None
    }

    /// The value of a parser of ours, or what it says is wrong.
    pub(crate) fn accept<T>(&self, span: Range<usize>, path: &str, parsed: Result<T, impl Display>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(error) => {
                self.report.at(span, format!("`{path}`: {error}"), "here", None);
                None
            }
        }
    }

    /// Says that `key` is missing; told by [`Section::finish`], unless it is only misspelt.
    pub(crate) fn missing(&self, key: &'static str, help: &'static str) {
        self.missing.borrow_mut().push((key, help));
    }
}

/// The key that was probably meant by `name`.
fn known_as(name: &str, asked: &[&'static str]) -> Option<&'static str> {
    let alias = ALIASES.iter().find(|(other, own)| *other == name && asked.contains(own)).map(|(_, own)| *own);
    let near = asked
        .iter()
        .map(|known| (strsim::damerau_levenshtein(known, name), *known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min()
        .map(|(_, known)| known);
    alias.or(near)
}

/// Where a key of that name belongs.
fn table_with(name: &str) -> Option<String> {
    match shape::table_of(name)? {
        table if table.is_empty() => Some(format!("`{name}` belongs to the top of the file, before any [table]")),
        table => Some(format!("`{name}` belongs to [{table}]")),
    }
}
