//! Template resources: confd's `conf.d/*.toml`.

use crate::folder;
use crate::path;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A template, its destination and the commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The resource's file.
    pub file: PathBuf,
    /// The template.
    pub src: PathBuf,
    /// The destination.
    pub dest: PathBuf,
    /// The prefix of the keys, which templates do not see.
    pub prefix: String,
    /// The keys, with the prefix.
    pub keys: Vec<String>,
    /// The permissions; by default those of the existing file.
    pub mode: Option<u32>,
    /// The owner; by default the user of this process.
    pub uid: Option<u32>,
    /// The group; by default that of this process's user.
    pub gid: Option<u32>,
    /// The shell line that checks a new file before it replaces the old one.
    pub check_cmd: Option<String>,
    /// The shell line that makes the program load the new file.
    pub reload_cmd: Option<String>,
}

/// An invalid resource.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// A folder or file cannot be read.
    #[error("{}: {problem}", path.display())]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        problem: String,
    },
    /// The file is not TOML, or a value has the wrong type.
    #[error("{}: {error}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// The error and its position.
        error: toml::de::Error,
    },
    /// A value is invalid.
    #[error("{}: {problem}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The cause.
        problem: String,
    },
}

/// The content of the file. Unknown keys are ignored, as in confd.
#[derive(Debug, Deserialize)]
struct ResourceFile {
    #[serde(default)]
    template: TemplateSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateSection {
    src: String,
    dest: String,
    keys: Vec<String>,
    prefix: String,
    mode: String,
    uid: Option<i64>,
    gid: Option<i64>,
    owner: Option<String>,
    group: Option<String>,
    check_cmd: Option<String>,
    reload_cmd: Option<String>,
}

/// The valid resources of confd's folder, and the errors of the others. A missing folder has no resources.
///
/// # Errors
/// If the folder exists and cannot be read.
#[allow(clippy::type_complexity, reason = "the valid resources and the errors")]
pub fn all(confdir: &Path, prefix: &str) -> Result<(Vec<Resource>, Vec<ResourceError>), ResourceError> {
    let conf_d = confdir.join("conf.d");
    if !conf_d.exists() {
        tracing::warn!("{} does not exist: there is nothing to render", conf_d.display());
        return Ok((Vec::new(), Vec::new()));
    }
    let files = folder::files(&conf_d, "*toml")
        .map_err(|problem| ResourceError::Unreadable { path: conf_d.clone(), problem })?;
    if files.is_empty() {
        tracing::warn!("{} has no template resources: there is nothing to render", conf_d.display());
    }
    let (mut resources, mut wrong) = (Vec::new(), Vec::new());
    for file in files {
        match read(&file, confdir, prefix) {
            Ok(resource) => resources.push(resource),
            Err(error) => wrong.push(error),
        }
    }
    Ok((resources, wrong))
}

fn read(file: &Path, confdir: &Path, prefix: &str) -> Result<Resource, ResourceError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| ResourceError::Unreadable { path: file.into(), problem: error.to_string() })?;
    let parsed: ResourceFile =
        toml::from_str(&text).map_err(|error| ResourceError::Toml { path: file.into(), error })?;
    let section = parsed.template;
    let wrong = |problem: String| ResourceError::Wrong { path: file.into(), problem };
    if section.src.is_empty() {
        return Err(wrong("src is missing; set it to the template's path below templates/".into()));
    }
    if section.dest.is_empty() {
        return Err(wrong("dest is missing; set it to the file to keep up to date".into()));
    }
    // As in confd, a global prefix replaces each resource's.
    let prefix = if prefix.is_empty() { section.prefix.as_str() } else { prefix };
    let prefix = if prefix.starts_with('/') { prefix.to_owned() } else { format!("/{prefix}") };
    let uid = match (section.uid, &section.owner) {
        (Some(uid), _) => id(uid).map_err(wrong)?,
        (None, Some(name)) => Some(named("/etc/passwd", name).map_err(wrong)?),
        (None, None) => None,
    };
    let gid = match (section.gid, &section.group) {
        (Some(gid), _) => id(gid).map_err(wrong)?,
        (None, Some(name)) => Some(named("/etc/group", name).map_err(wrong)?),
        (None, None) => None,
    };
    let mode = mode(&section.mode).map_err(wrong)?;
    if let Some(mode) = mode.filter(|_| !section.mode.starts_with('0')) {
        tracing::warn!("{}: mode = {:?} is decimal, as in confd, so it means {mode:04o}", file.display(), section.mode);
    }
    Ok(Resource {
        file: file.into(),
        src: confdir.join("templates").join(section.src),
        dest: section.dest.into(),
        keys: section.keys.iter().map(|key| path::join(&prefix, key)).collect(),
        prefix,
        mode,
        uid,
        gid,
        check_cmd: section.check_cmd.filter(|line| !line.is_empty()),
        reload_cmd: section.reload_cmd.filter(|line| !line.is_empty()),
    })
}

/// An id; -1 means none, as in confd.
fn id(id: i64) -> Result<Option<u32>, String> {
    match id {
        -1 => Ok(None),
        id => u32::try_from(id).map(Some).map_err(|_| format!("{id} is not an id of a user or group")),
    }
}

/// The id of a user or group by its name or number.
fn named(database: &str, name: &str) -> Result<u32, String> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let text = std::fs::read_to_string(database).map_err(|error| format!("{database}: {error}"))?;
    let mut entries = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let entry = entries.find(|entry| entry.first() == Some(&name));
    entry.and_then(|entry| entry.get(2)?.parse().ok()).ok_or_else(|| format!("{name:?} is not in {database}"))
}

/// Parses permissions as Go parses integers: octal with a leading zero.
fn mode(written: &str) -> Result<Option<u32>, String> {
    if written.is_empty() {
        return Ok(None);
    }
    let (radix, digits) = match written.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &written[2..]),
        [b'0', b'b' | b'B', ..] => (2, &written[2..]),
        [b'0', b'o' | b'O', ..] => (8, &written[2..]),
        [b'0', ..] => (8, written),
        _ => (10, written),
    };
    let mode = u32::from_str_radix(digits, radix)
        .map_err(|_| format!("mode = {written:?} is not a number such as \"0644\""))?;
    Ok(Some(mode & 0o7777))
}
