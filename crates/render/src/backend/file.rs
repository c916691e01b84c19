//! Keys from files of YAML and JSON, and from folders of them.

use super::{BackendError, Change, yaml};
use crate::folder;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The interval at which watched files are inspected: a few system calls per file.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The files to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// Files, and folders that are read recursively.
    pub files: Vec<PathBuf>,
    /// The pattern for names of files in folders.
    pub filter: String,
}

impl FileSettings {
    fn paths(&self) -> Result<Vec<PathBuf>, BackendError> {
        let mut paths = Vec::new();
        for root in &self.files {
            if root.is_dir() {
                let found = folder::files(root, &self.filter);
                paths.extend(found.map_err(|problem| BackendError::File { path: root.clone(), problem })?);
            } else {
                paths.push(root.clone());
            }
        }
        Ok(paths)
    }

    /// The values of these keys in the files.
    ///
    /// # Errors
    /// If a file cannot be read or parsed.
    pub fn values(&self, keys: &[String]) -> Result<BTreeMap<String, String>, BackendError> {
        let mut values = BTreeMap::new();
        for path in self.paths()? {
            let wrong = |problem: String| BackendError::File { path: path.clone(), problem };
            let text = std::fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
            let is_json = path.extension().is_some_and(|extension| extension == "json");
            let read = if is_json { yaml::read_json } else { yaml::read };
            read(&text, &mut values).map_err(wrong)?;
        }
        // As in confd, a plain prefix match: /a matches /ab too.
        values.retain(|key, _| keys.iter().any(|wanted| key.starts_with(wanted)));
        Ok(values)
    }

    /// Starts a watch of the files.
    #[must_use]
    pub fn watch(&self) -> FileWatch {
        FileWatch { settings: self.clone(), fingerprints: self.fingerprints() }
    }

    fn fingerprints(&self) -> Vec<Fingerprint> {
        self.paths().unwrap_or_default().iter().map(|path| Fingerprint::of(path)).collect()
    }
}

/// The identity of a file's content: changes show as a different value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fingerprint {
    path: PathBuf,
    file: Option<(u64, u64, Option<SystemTime>)>,
}

impl Fingerprint {
    fn of(path: &Path) -> Fingerprint {
        use std::os::unix::fs::MetadataExt;
        let file = std::fs::metadata(path).ok();
        Fingerprint { path: path.to_owned(), file: file.map(|file| (file.ino(), file.len(), file.modified().ok())) }
    }
}

/// Polls the files for changes.
pub struct FileWatch {
    settings: FileSettings,
    fingerprints: Vec<Fingerprint>,
}

impl FileWatch {
    pub async fn next(&mut self) -> Change {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let fingerprints = self.settings.fingerprints();
            if fingerprints != self.fingerprints {
                self.fingerprints = fingerprints;
                return Change::Anything;
            }
        }
    }
}
