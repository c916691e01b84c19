//! From a file, or its text, to a spec: syntax, then types and keys, then what must fit together.

use crate::fields::path_in_file;
use crate::keys;
use crate::options::LoadOptions;
use crate::problem::{ConfigError, Problem};
use crate::read;
use crate::report::Report;
use crate::section::Section;
use gapless_core::{EnvName, Spec};
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::DeTable;

/// The largest configuration that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How many syntax errors are told: the later ones are often only of the first one's making.
const SYNTAX_ERRORS_MAX: usize = 3;

const INIT_HELP: &str = "write one with `gapless init`, or name another with `--config`";

/// A configuration that was read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Loaded {
    /// What it says.
    pub spec: Spec,
    /// Every file that it was read from, the configuration first.
    pub files: Vec<PathBuf>,
    /// The environments that it has tables for.
    pub environments: Vec<EnvName>,
}

/// Reads the configuration file `path`, and the files that it names.
///
/// # Errors
/// Everything that is wrong with them.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Loaded, ConfigError> {
    let text = read_file(path, INIT_HELP)?;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut loaded = parse(&text, &path.display().to_string(), folder, options)?;
    loaded.files.insert(0, path.to_owned());
    Ok(loaded)
}

/// The configurations of the environments that a release of `spec` goes on to by itself: those that say
/// `promote = "auto"` and require its environment, those that require these, and so on.
///
/// # Errors
/// Everything that is wrong with them.
pub fn following(path: &Path, spec: &Spec, options: &LoadOptions) -> Result<Vec<Spec>, ConfigError> {
    let mut known = vec![spec.env.clone()];
    let mut following = Vec::new();
    let mut left = environments(path)?;
    left.retain(|env| *env != spec.env);
    loop {
        let mut has_more = false;
        for env in std::mem::take(&mut left) {
            let options = LoadOptions { environment: Some(env.clone()), ..options.clone() };
            let next = load(path, &options)?.spec;
            if next.promote_auto && next.requires.iter().any(|required| known.contains(required)) {
                known.push(env);
                following.push(next);
                has_more = true;
            } else {
                left.push(env);
            }
        }
        if !has_more {
            return Ok(following);
        }
    }
}

/// The environments that the configuration file `path` has tables for, whatever else is wrong with it.
///
/// # Errors
/// If it cannot be read.
pub fn environments(path: &Path) -> Result<Vec<EnvName>, ConfigError> {
    let text = read_file(path, INIT_HELP)?;
    let (table, _) = DeTable::parse_recoverable(&text);
    let environments = table.get_ref().get("environments").and_then(|value| value.get_ref().as_table());
    let names = environments.into_iter().flat_map(|table| table.keys());
    Ok(names.filter_map(|name| name.get_ref().parse().ok()).collect())
}

/// The text of the configuration file `path`; `help` is what to do where there is none.
pub(crate) fn read_file(path: &Path, help: &str) -> Result<String, ConfigError> {
    let name = path.display().to_string();
    let fail = |message: String, help: &str| {
        ConfigError::new(&name, vec![Problem::nowhere(message).help(Some(help.to_owned()))])
    };
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => fail(format!("there is no file {name}"), help),
        _ => fail(format!("{name} cannot be read: {error}"), "let the user who runs this command read it"),
    })?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(fail(
            format!("{name} is not a file of at most 1 MiB"),
            "name a configuration file with `--config`",
        ));
    }
    let bytes = std::fs::read(path).map_err(|error| {
        fail(format!("{name} cannot be read: {error}"), "let the user who runs this command read it")
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        fail(format!("{name} is not UTF-8 text: line {line} has other bytes"), "save it as UTF-8 in your editor")
    })
}

/// Reads the configuration `text`, shown in errors as `file_name`, with paths in it relative to `base_dir`; and the
/// files that it names.
///
/// # Errors
/// Everything that is wrong with them.
pub fn parse(text: &str, file_name: &str, base_dir: &Path, options: &LoadOptions) -> Result<Loaded, ConfigError> {
    let report = Report::new(file_name, text);
    let Some(table) = table(text, &report) else {
        return Err(ConfigError::new(file_name, report.into_problems()));
    };
    let base = std::path::absolute(base_dir).unwrap_or_else(|_| base_dir.to_owned());
    let reading = read::Reading::new(&report, base, options);
    let root = Section::root(&report, table.get_ref(), &keys::file::TABLE);
    let spec = reading.spec(root);
    let (files, environments) = reading.into_parts();
    // Rules between fields are told only of a file whose fields can all be read: half of it says nothing.
    if let Some((spec, routes)) = &spec
        && report.is_clean()
        && let Err(errors) = spec.validate()
    {
        for error in errors {
            let path = path_in_file(&error.field, routes, table.get_ref().get("services").is_some());
            report.at_path(&path, format!("`{path}` {}", error.message), "here");
        }
    }
    match spec {
        Some((spec, _)) if report.is_clean() => Ok(Loaded { spec, files, environments }),
        _ => Err(ConfigError::new(file_name, report.into_problems())),
    }
}

/// The table that `text` is, if its syntax is right; else that is told.
pub(crate) fn table<'a>(text: &'a str, report: &Report) -> Option<Spanned<DeTable<'a>>> {
    let (table, syntax_errors) = DeTable::parse_recoverable(text);
    if syntax_errors.is_empty() {
        return Some(table);
    }
    let is_yaml = looks_like_yaml(text);
    for error in syntax_errors.iter().take(if is_yaml { 1 } else { SYNTAX_ERRORS_MAX }) {
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        let help = is_yaml.then(|| "this looks like YAML; in TOML it is `name = \"shop\"`".to_owned());
        report.at(error.span().unwrap_or(0..0), format!("this is not TOML: {message}"), "here", help);
    }
    None
}

/// Whether the first line that says something is `key: value`.
fn looks_like_yaml(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    first.is_some_and(|line| {
        line == "---"
            || line.split_once(':').is_some_and(|(key, _)| key.chars().all(|c| c.is_alphanumeric() || c == '_'))
    })
}
