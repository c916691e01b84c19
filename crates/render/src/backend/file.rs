//! Files of YAML and JSON, and folders of them.

use super::{BackendError, Change, yaml};
use crate::folder;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How often the files are looked at while they are watched: a few system calls for each.
const LOOK: Duration = Duration::from_millis(200);

/// Which files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// Files, and folders that are read with all that is in them.
    pub files: Vec<PathBuf>,
    /// The pattern that the names of files in folders must match.
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

    /// What the files say of these keys.
    ///
    /// # Errors
    /// If one of them cannot be read, or is not what it should be.
    pub fn values(&self, keys: &[String]) -> Result<BTreeMap<String, String>, BackendError> {
        let mut values = BTreeMap::new();
        for path in self.paths()? {
            let wrong = |problem: String| BackendError::File { path: path.clone(), problem };
            let text = std::fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
            let is_json = path.extension().is_some_and(|extension| extension == "json");
            let read = if is_json { yaml::read_json } else { yaml::read };
            read(&text, &mut values).map_err(wrong)?;
        }
        // As in confd, by the letters: /a takes /ab too.
        values.retain(|key, _| keys.iter().any(|wanted| key.starts_with(wanted)));
        Ok(values)
    }

    /// Begins to watch the files.
    #[must_use]
    pub fn watch(&self) -> FileWatch {
        FileWatch { settings: self.clone(), seen: self.seen() }
    }

    fn seen(&self) -> Vec<Seen> {
        self.paths().unwrap_or_default().iter().map(|path| Seen::of(path)).collect()
    }
}

/// What tells a file from the one that was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    file: Option<(u64, u64, Option<SystemTime>)>,
}

impl Seen {
    fn of(path: &Path) -> Seen {
        use std::os::unix::fs::MetadataExt;
        let file = std::fs::metadata(path).ok();
        Seen { path: path.to_owned(), file: file.map(|file| (file.ino(), file.len(), file.modified().ok())) }
    }
}

/// Looks at the files again and again.
pub struct FileWatch {
    settings: FileSettings,
    seen: Vec<Seen>,
}

impl FileWatch {
    pub async fn next(&mut self) -> Change {
        loop {
            tokio::time::sleep(LOOK).await;
            let seen = self.settings.seen();
            if seen != self.seen {
                self.seen = seen;
                return Change::Anything;
            }
        }
    }
}
