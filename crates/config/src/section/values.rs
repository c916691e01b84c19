//! The values of a table by type, and reports of values of another type.

use super::{Located, Section};
use crate::keys::Key;
use crate::units::{cpu_millis, parse_duration, parse_size};
use gapless_core::Millis;
use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;
use toml::Spanned;
use toml::de::DeValue;

impl Section<'_> {
    pub(crate) fn text(&self, key: &'static Key) -> Option<Located<String>> {
        let value = self.value(key)?;
        let text = self.as_text(value, &self.path(key))?;
        Some(Located { value: text, span: value.span() })
    }

    /// An array of texts.
    pub(crate) fn texts(&self, key: &'static Key) -> Option<Vec<Located<String>>> {
        let value = self.value(key)?;
        let path = self.path(key);
        let Some(array) = value.get_ref().as_array() else {
            let help = value.get_ref().as_str().map(|text| format!("write [{text:?}]"));
            return self.wrong_type_with_help(value, &path, "a list of texts, such as [\"a\", \"b\"]", help);
        };
        let texts = array.iter().enumerate().filter_map(|(at, item)| {
            self.record_span(key.name, &format!("[{at}]"), item.span());
            let path = format!("{path}[{at}]");
            Some(Located { value: self.as_text(item, &path)?, span: item.span() })
        });
        Some(texts.collect())
    }

    /// The texts of an array, without any report of wrong types and without taking the key.
    pub(crate) fn texts_unchecked(&self, key: &'static Key) -> Vec<String> {
        let array = self.find(key.name).and_then(|(_, value)| value.get_ref().as_array());
        let texts = array.into_iter().flat_map(|array| array.iter());
        texts.filter_map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
    }

    pub(crate) fn boolean(&self, key: &'static Key) -> Option<bool> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Boolean(is_so) => Some(*is_so),
            _ => self.wrong_type(value, &self.path(key), "`true` or `false`"),
        }
    }

    /// A whole number that fits in `T`; the rules of the spec check its bounds.
    pub(crate) fn number<T: FromStr>(&self, key: &'static Key) -> Option<T> {
        self.as_number(self.value(key)?, &self.path(key))
    }

    pub(crate) fn as_number<T: FromStr>(&self, value: &Spanned<DeValue<'_>>, path: &str) -> Option<T> {
        let Some(number) = value.get_ref().as_integer() else {
            let help = value.get_ref().as_str().filter(|text| text.parse::<i64>().is_ok());
            let help = help.map(|text| format!("write {text} without quotes"));
            return self.wrong_type_with_help(value, path, "a whole number", help);
        };
        let parsed = i128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string());
        let parsed = parsed.and_then(|decimal| decimal.parse().ok());
        if parsed.is_none() {
            self.report.at(value.span(), format!("`{path}` cannot be {number}"), "too small or too large", None);
        }
        parsed
    }

    pub(crate) fn duration(&self, key: &'static Key) -> Option<Millis> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Integer(_) => Some(Millis::from_secs(self.as_number(value, &self.path(key))?)),
            DeValue::String(text) => self.accept(value.span(), &self.path(key), parse_duration(text)),
            _ => self.wrong_type(value, &self.path(key), "a duration such as \"30s\", or whole seconds"),
        }
    }

    /// Bytes.
    pub(crate) fn size(&self, key: &'static Key) -> Option<u64> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Integer(_) => self.as_number(value, &self.path(key)),
            DeValue::String(text) => self.accept(value.span(), &self.path(key), parse_size(text)),
            _ => self.wrong_type(value, &self.path(key), "a size such as \"512m\", or whole bytes"),
        }
    }

    /// A number from 0 to 100: `1.5`, `1` or `"1.5%"`.
    pub(crate) fn percent(&self, key: &'static Key) -> Option<f64> {
        let value = self.value(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse::<f64>().ok(),
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            DeValue::String(text) => text.trim().strip_suffix('%').and_then(|text| text.trim().parse::<f64>().ok()),
            _ => None,
        };
        match number.filter(|number| (0.0..=100.0).contains(number)) {
            Some(number) => Some(number),
            None => self.wrong_type(value, &self.path(key), "a percentage from 0 to 100, such as \"1.5%\""),
        }
    }

    /// Thousandths of a processor.
    pub(crate) fn cpus(&self, key: &'static Key) -> Option<u64> {
        let value = self.value(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse::<f64>().ok(),
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            _ => None,
        };
        match number {
            Some(number) => self.accept(value.span(), &self.path(key), cpu_millis(number)),
            None => self.wrong_type(value, &self.path(key), "a number of processors such as 2 or 0.5"),
        }
    }

    fn as_text(&self, value: &Spanned<DeValue<'_>>, path: &str) -> Option<String> {
        match value.get_ref().as_str() {
            Some(text) => Some(text.to_owned()),
            None => self.wrong_type(value, path, "a text in quotes"),
        }
    }

    /// Reports that `value` is not of the `expected` type; returns `None`.
    pub(crate) fn wrong_type<T>(&self, value: &Spanned<DeValue<'_>>, path: &str, expected: &str) -> Option<T> {
        self.wrong_type_with_help(value, path, expected, None)
    }

    fn wrong_type_with_help<T>(
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

    /// The parsed value; reports the error of the parser, if there is one.
    pub(crate) fn accept<T>(&self, span: Range<usize>, path: &str, parsed: Result<T, impl Display>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(error) => {
                self.report.at(span, format!("`{path}`: {error}"), "here", None);
                None
            }
        }
    }
}
