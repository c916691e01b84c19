//! The cases of confd's documented functions: templates, their keys, and the expected results.
//!
//! `cases.txt` is a list of cases: a line `=== NAME`; optional lines `keys: JSON`, `env: NAME=VALUE` and `keyring:
//! yes`; the template; a line `---`, and the expected output. After `--- fails`, the error message must contain the
//! text; after `--- like`, a `#` stands for a digit and a `*` for any text. `keyring.asc` is a key for these tests, and
//! the encrypted values were made by `gzip | gpg --encrypt | base64`.

use gapless_harness::Confd;
use std::path::{Path, PathBuf};

/// A case.
#[derive(Debug, Clone)]
pub struct Case {
    /// The subject of the case; starts with the name of the function.
    pub name: String,
    keys: String,
    env: Option<(String, String)>,
    keyring: bool,
    template: String,
    kind: String,
    wanted: String,
}

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case> {
    include_str!("cases.txt").split("=== ").skip(1).map(case).collect()
}

fn case(text: &str) -> Case {
    let (name, mut rest) = text.split_once('\n').expect("the case has a name");
    let mut header = |word: &str| -> Option<String> {
        let (line, after) = rest.strip_prefix(word)?.split_once('\n')?;
        rest = after;
        Some(line.to_owned())
    };
    let keys = header("keys: ").unwrap_or_else(|| "{}".into());
    let env = header("env: ").and_then(|env| env.split_once('=').map(|(name, value)| (name.into(), value.into())));
    let keyring = header("keyring: ").is_some();
    let (template, rest) = rest.split_once("\n---").expect("the case has a line of dashes");
    let (kind, wanted) = rest.split_once('\n').expect("the case has an expected result");
    let wanted = wanted.strip_suffix('\n').unwrap_or(wanted);
    let (name, template, kind, wanted) = (name.into(), template.into(), kind.trim().into(), wanted.into());
    Case { name, keys, env, keyring, template, kind, wanted }
}

impl Case {
    /// Runs the case with the real binary.
    ///
    /// # Errors
    /// With the actual result, if it differs from the expected one.
    pub fn run(&self) -> Result<(), String> {
        let confd = Confd::default();
        // Keys of the JSON object are paths, and become keys without a change.
        confd.write("keys.json", &self.keys);
        confd.template("case", &self.template);
        confd.resource("case", &["/"], "");
        let ring = keyring(&confd.path(""));
        let file = confd.path("keys.json");
        let (ring, file) = (ring.display().to_string(), file.display().to_string());
        let mut arguments = confd.arguments(&["-onetime", "-backend", "file", "-file", &file]);
        if self.keyring {
            arguments.extend(["-secret-keyring".to_owned(), ring]);
        }
        let mut command = confd.gapless().command(arguments);
        if let Some((name, value)) = &self.env {
            command.env(name, value);
        }
        let output = command.output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let printed = confd.written("case");
        let same = match (self.kind.as_str(), &printed, output.status.code()) {
            ("fails", None, Some(1)) => said.contains(&self.wanted),
            ("like", Some(printed), Some(0)) => is_like(printed, &self.wanted),
            ("", Some(printed), Some(0)) => *printed == self.wanted,
            _ => false,
        };
        if same { Ok(()) } else { Err(format!("{}: {printed:?}, not {:?}; it says: {said}", self.name, self.wanted)) }
    }
}

fn is_like(text: &str, pattern: &str) -> bool {
    let Some(first) = pattern.chars().next() else { return text.is_empty() };
    let rest = &pattern[first.len_utf8()..];
    if first == '*' {
        return text.char_indices().any(|(at, _)| is_like(&text[at..], rest)) || is_like("", rest);
    }
    match text.chars().next() {
        Some(next) if next == first || first == '#' && next.is_ascii_digit() => is_like(&text[next.len_utf8()..], rest),
        _ => false,
    }
}

/// Writes the keyring for the encrypted values into a folder, and returns its path.
fn keyring(folder: &Path) -> PathBuf {
    let path = folder.join("keyring.asc");
    std::fs::write(&path, include_str!("keyring.asc")).expect("the file can be written");
    path
}
