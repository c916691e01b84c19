//! Loads a file, or its text, into a spec: checks the syntax, then types and keys, then the rules between fields.

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

/// The largest configuration file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The number of syntax errors that are reported: later errors are often consequences of the first.
const SYNTAX_ERRORS_MAX: usize = 3;

const INIT_HELP: &str = "write one with `gapless init`, or name another with `--config`";

/// A configuration, as it was read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Loaded {
    /// The application to deploy.
    pub spec: Spec,
    /// All files that were read, the configuration file first.
    pub files: Vec<PathBuf>,
    /// The environments that the file has tables for.
    pub environments: Vec<EnvName>,
}

/// Reads the configuration file `path`, and the files that it names.
///
/// # Errors
/// All problems of these files.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Loaded, ConfigError> {
    let text = read_file(path, INIT_HELP)?;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut loaded = parse(&text, &path.display().to_string(), folder, options)?;
    loaded.files.insert(0, path.to_owned());
    Ok(loaded)
}

/// Reads the configurations of the environments into which a release of `spec` is promoted by itself: environments with
/// `promote = "auto"` that require its environment, then those that require them, and so on.
///
/// # Errors
/// All problems of the file in one of these environments.
pub fn following(path: &Path, spec: &Spec, options: &LoadOptions) -> Result<Vec<Spec>, ConfigError> {
    let mut known = vec![spec.env.clone()];
    let mut following = Vec::new();
    let mut left = environments(path)?;
    left.retain(|env| *env != spec.env);
    loop {
        let mut has_grown = false;
        for env in std::mem::take(&mut left) {
            let options = LoadOptions { environment: Some(env.clone()), ..options.clone() };
            let next = load(path, &options)?.spec;
            if next.promote_auto && next.requires.iter().any(|required| known.contains(required)) {
                known.push(env);
                following.push(next);
                has_grown = true;
            } else {
                left.push(env);
            }
        }
        if !has_grown {
            return Ok(following);
        }
    }
}

/// The environments that the configuration file `path` has tables for. Other errors in the file are ignored.
///
/// # Errors
/// The file cannot be read.
pub fn environments(path: &Path) -> Result<Vec<EnvName>, ConfigError> {
    let text = read_file(path, INIT_HELP)?;
    let (table, _) = DeTable::parse_recoverable(&text);
    let environments = table.get_ref().get("environments").and_then(|value| value.get_ref().as_table());
    let names = environments.into_iter().flat_map(|table| table.keys());
    Ok(names.filter_map(|name| name.get_ref().parse().ok()).collect())
}

/// Reads the text of the configuration file `path`; `help` is the advice if the file does not exist.
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

/// Reads the configuration `text`, and the files that it names. Errors show it as `file_name`; paths in it are relative
/// to `base_dir`.
///
/// # Errors
/// All problems of the text and the files.
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
    // Rules between fields are checked only if all fields could be read: errors about missing values would mislead.
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

/// Parses `text` as TOML; reports its syntax errors.
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

/// The first line that is neither empty nor a comment is `key: value`.
fn looks_like_yaml(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    first.is_some_and(|line| {
        line == "---"
            || line.split_once(':').is_some_and(|(key, _)| key.chars().all(|c| c.is_alphanumeric() || c == '_'))
    })
}
