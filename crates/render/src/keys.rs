//! The keys of a template: a snapshot of the backend's values, without the prefix.

use crate::path::{self, BadPattern};
use std::collections::{BTreeMap, BTreeSet};

/// Keys and their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    values: BTreeMap<String, String>,
}

impl Keys {
    /// The backend's values as templates see them: without the prefix.
    pub fn below(prefix: &str, values: BTreeMap<String, String>) -> Self {
        let without = |key: String| path::join("/", key.strip_prefix(prefix).unwrap_or(&key));
        Keys { values: values.into_iter().map(|(key, value)| (without(key), value)).collect() }
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// The keys that match the pattern, with their values, sorted by key.
    pub fn matching(&self, pattern: &str) -> Result<Vec<(&str, &str)>, BadPattern> {
        let mut found = Vec::new();
        for (key, value) in &self.values {
            if path::matches(pattern, key)? {
                found.push((key.as_str(), value.as_str()));
            }
        }
        Ok(found)
    }

    /// The names directly below a path; for a key with exactly this path, its last part.
    pub fn list(&self, path: &str) -> Vec<&str> {
        let mut names = BTreeSet::new();
        let prefix = terms(path);
        for key in self.values.keys() {
            if key == path {
                names.insert(path::base(key));
            } else if is_below(&prefix, &path::dir(key)) {
                names.insert(strip(key, path).split('/').next().unwrap_or_default());
            }
        }
        names.into_iter().collect()
    }

    /// The names directly below a path that have keys below them.
    pub fn list_folders(&self, path: &str) -> Vec<&str> {
        let mut names = BTreeSet::new();
        let prefix = terms(path);
        for key in self.values.keys().filter(|key| is_below(&prefix, &path::dir(key))) {
            let mut rest = strip(key, path).split('/');
            if let (Some(name), Some(_)) = (rest.next(), rest.next()) {
                names.insert(name);
            }
        }
        names.into_iter().collect()
    }
}

/// The parts of a path; the root has none.
fn terms(path: &str) -> Vec<String> {
    path::clean(path).split('/').filter(|term| !term.is_empty()).map(str::to_owned).collect()
}

fn is_below(prefix: &[String], folder: &str) -> bool {
    let mut folder = folder.split('/').filter(|term| !term.is_empty());
    prefix.iter().all(|term| folder.next() == Some(term))
}

fn strip<'a>(key: &'a str, prefix: &str) -> &'a str {
    let rest = key.strip_prefix(prefix.trim_end_matches('/')).unwrap_or(key);
    rest.strip_prefix('/').unwrap_or(rest)
}
