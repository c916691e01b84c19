//! Suggestions for unknown keys.

use crate::keys;

/// Words of other tools, and the key of gapless with that meaning.
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

/// The key of `possible` that was probably meant by `name`.
pub(crate) fn similar_key(name: &str, possible: &[&'static str]) -> Option<&'static str> {
    let alias = ALIASES.iter().find(|(other, own)| *other == name && possible.contains(own)).map(|(_, own)| *own);
    let near = possible
        .iter()
        .map(|known| (strsim::damerau_levenshtein(known, name), *known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min()
        .map(|(_, known)| known);
    alias.or(near)
}

/// The table of `gapless.toml` where a key `name` belongs, as a sentence.
pub(crate) fn right_table(name: &str) -> Option<String> {
    match keys::table_of(name)? {
        "" => Some(format!("`{name}` belongs to the top of the file, before any [table]")),
        table => Some(format!("`{name}` belongs to [{table}]")),
    }
}
