//! Stories in one file, which both slots read and write concurrently. Each change locks the file, reads its current
//! content, and replaces it by a new file.

use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Story {
    /// The story's number.
    pub id: u64,
    /// Incremented by each change, so that clients cannot overwrite changes that they have not seen.
    pub version: u64,
    /// The user's text.
    #[serde(flatten)]
    pub text: Text,
}

/// The text of a story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// The title.
    pub title: String,
    /// As a …
    #[serde(default)]
    pub role: String,
    /// I want …
    #[serde(default)]
    pub feature: String,
    /// so that …
    #[serde(default)]
    pub benefit: String,
    /// The acceptance criteria.
    #[serde(default)]
    pub scenarios: Vec<Scenario>,
}

/// A scenario of a story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Given …
    pub given: String,
    /// when …
    pub when: String,
    /// then …
    pub then: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Contents {
    last_id: u64,
    stories: Vec<Story>,
}

/// The reason for a rejected change.
#[derive(Debug)]
pub enum Refused {
    /// There is no such story.
    Missing,
    /// The story was changed meanwhile.
    Changed,
    /// The file cannot be read or written.
    Io(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Refused::Io(error)
    }
}

/// The stories' file.
pub struct Store {
    file: PathBuf,
}

impl Store {
    /// Opens the file in that folder.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let store = Store { file: folder.join("stories.json") };
        store.read().map(|_| store)
    }

    /// All stories.
    pub fn all(&self) -> io::Result<Vec<Story>> {
        Ok(self.read()?.stories)
    }

    /// Adds a story.
    pub fn add(&self, text: Text) -> Result<Story, Refused> {
        self.change(|contents| {
            contents.last_id += 1;
            let story = Story { id: contents.last_id, version: 1, text };
            contents.stories.push(story.clone());
            Ok(story)
        })
    }

    /// Replaces the text of a story, if its version still matches.
    pub fn replace(&self, id: u64, version: Option<u64>, text: Text) -> Result<Story, Refused> {
        self.change(|contents| {
            let story = contents.stories.iter_mut().find(|story| story.id == id).ok_or(Refused::Missing)?;
            if version.is_some_and(|version| version != story.version) {
                return Err(Refused::Changed);
            }
            story.text = text;
            story.version += 1;
            Ok(story.clone())
        })
    }

    /// Removes a story, if its version still matches.
    pub fn remove(&self, id: u64, version: Option<u64>) -> Result<(), Refused> {
        self.change(|contents| {
            let index = contents.stories.iter().position(|story| story.id == id).ok_or(Refused::Missing)?;
            if version.is_some_and(|version| version != contents.stories[index].version) {
                return Err(Refused::Changed);
            }
            contents.stories.remove(index);
            Ok(())
        })
    }

    fn read(&self) -> io::Result<Contents> {
        match fs::read(&self.file) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Contents::default()),
            Err(error) => Err(error),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Contents) -> Result<T, Refused>) -> Result<T, Refused> {
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(self.file.with_extension("lock"))?;
        // The lock ends when the file is closed, also if the process is killed.
        lock.lock()?;
        let mut contents = self.read()?;
        let result = change(&mut contents)?;
        let beside = self.file.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(&contents).map_err(io::Error::from)?)?;
        file.sync_all()?;
        fs::rename(&beside, &self.file)?;
        Ok(result)
    }
}
