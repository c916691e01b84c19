//! A model of a disk whose power can fail at any moment: the names and bytes that it has afterwards.
//!
//! Names are certain once their folder was synced, bytes once their file was. Any part of the rest may be there, and a
//! name may be there before the bytes of its file.

use super::content::{Content, Found, Luck};
use super::trace::{Change, Event};
use gapless_harness::Rng;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

/// A file or folder, independent of its name.
type Id = usize;
type Name = (Id, OsString);
/// Names that change together: each becomes another file's, or is removed.
type Renaming = Vec<(Name, Option<Id>)>;
const ROOT: Id = 0;

/// The order in which changes of names reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Independently, and certain only after a sync of the folder: the guarantee of POSIX.
    Loose,
    /// In their order, and all of them with any sync: file systems with a journal.
    Journal,
}

/// The syncs that a lying disk only pretends to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Of files whose names have this ending.
    Files(&'static str),
    /// Of folders.
    Folders,
}

/// The disk.
pub(crate) struct Disk {
    nodes: Vec<Node>,
    /// Changes of names that are not on disk yet, with the numbers of their events.
    pending: Vec<(usize, Renaming)>,
    names: Names,
    lie: Option<Lie>,
    events: usize,
}

#[derive(Debug, Clone)]
enum Node {
    Folder { live: BTreeMap<OsString, Id>, synced: BTreeMap<OsString, Id> },
    File(Content),
}

impl Node {
    fn folder() -> Node {
        Node::Folder { live: BTreeMap::new(), synced: BTreeMap::new() }
    }
}

/// The disk after a power loss: the content of its files by path.
pub(crate) type Image = BTreeMap<PathBuf, Found>;

impl Disk {
    /// An empty disk.
    pub(crate) fn new(names: Names, lie: Option<Lie>) -> Disk {
        Disk { nodes: vec![Node::folder()], pending: Vec::new(), names, lie, events: 0 }
    }

    /// Applies the next event.
    pub(crate) fn take(&mut self, event: &Event) {
        let number = self.events;
        self.events += 1;
        match &event.change {
            Change::Open { path, makes, empties } => {
                if self.find(path).is_none() && *makes {
                    self.add(number, path, Node::File(Content::default()));
                } else if *empties && let Some(content) = self.file(path) {
                    content.truncate(number, 0);
                }
            }
            Change::MakeFolder { path } => self.add(number, path, Node::folder()),
            Change::Write { path, at, data } => {
                if let Some(content) = self.file(path) {
                    content.write(number, *at, data);
                }
            }
            Change::Truncate { path, length } => {
                if let Some(content) = self.file(path) {
                    content.truncate(number, *length);
                }
            }
            Change::Rename { from, to } => {
                // Sockets are created by `bind` and are no files.
                let Some((id, from)) = self.find(from).zip(self.name(from)) else { return };
                let Some(to) = self.name(to) else { return };
                self.rename(number, vec![(from, None), (to, Some(id))]);
            }
            Change::Remove { path } => {
                if let Some((_, name)) = self.find(path).zip(self.name(path)) {
                    self.rename(number, vec![(name, None)]);
                }
            }
            Change::Sync { path, failed } => self.sync(path, event.began_after, *failed),
        }
    }

    fn sync(&mut self, path: &Path, end: usize, failed: bool) {
        let Some(id) = self.find(path) else { return };
        let is_folder = matches!(self.nodes[id], Node::Folder { .. });
        let is_lied_about = self.lie.is_some_and(|lie| match lie {
            Lie::Folders => is_folder,
            Lie::Files(ending) => !is_folder && path.to_string_lossy().ends_with(ending),
        });
        if is_lied_about {
            return;
        }
        if let Node::File(content) = &mut self.nodes[id] {
            if failed { content.lose(end) } else { content.sync(end) }
        }
        if failed {
            return;
        }
        match self.names {
            Names::Journal if self.lie != Some(Lie::Folders) => self.sync_names(end, |_| true),
            _ if is_folder => self.sync_names(end, |(folder, _)| *folder == id),
            _ => {}
        }
    }

    /// Puts changes of names on disk, with earlier changes of the same names.
    fn sync_names(&mut self, end: usize, is_wanted: impl Fn(&Name) -> bool) {
        let mut concerned: HashSet<Name> = HashSet::new();
        let mut synced: BTreeSet<usize> = BTreeSet::new();
        for (number, changes) in self.pending.iter().rev().filter(|(number, _)| *number < end) {
            if changes.iter().any(|(name, _)| is_wanted(name) || concerned.contains(name)) {
                concerned.extend(changes.iter().map(|(name, _)| name.clone()));
                synced.insert(*number);
            }
        }
        for (number, changes) in std::mem::take(&mut self.pending) {
            if !synced.contains(&number) {
                self.pending.push((number, changes));
                continue;
            }
            for ((folder, name), id) in changes {
                if let Node::Folder { synced, .. } = &mut self.nodes[folder] {
                    set(synced, &name, id);
                }
            }
        }
    }

    fn add(&mut self, number: usize, path: &Path, node: Node) {
        let Some(name) = self.name(path) else { panic!("{} has no folder", path.display()) };
        self.nodes.push(node);
        self.rename(number, vec![(name, Some(self.nodes.len() - 1))]);
    }

    fn rename(&mut self, number: usize, changes: Renaming) {
        for ((folder, name), id) in &changes {
            if let Node::Folder { live, .. } = &mut self.nodes[*folder] {
                set(live, name, *id);
            }
        }
        self.pending.push((number, changes));
    }

    fn find(&self, path: &Path) -> Option<Id> {
        path.iter().try_fold(ROOT, |folder, name| match &self.nodes[folder] {
            Node::Folder { live, .. } => live.get(name).copied(),
            Node::File(_) => None,
        })
    }

    fn name(&self, path: &Path) -> Option<Name> {
        Some((self.find(path.parent()?)?, path.file_name()?.to_owned()))
    }

    fn file(&mut self, path: &Path) -> Option<&mut Content> {
        let id = self.find(path)?;
        match &mut self.nodes[id] {
            Node::File(content) => Some(content),
            Node::Folder { .. } => None,
        }
    }

    /// The content of a file that processes see.
    pub(crate) fn found(&self, path: &Path) -> Option<Found> {
        match &self.nodes[self.find(path)?] {
            Node::File(content) => Some(content.live()),
            Node::Folder { .. } => None,
        }
    }

    /// The files that processes see.
    pub(crate) fn live(&self) -> Image {
        let mut image = Image::new();
        let folders = |id: Id| match &self.nodes[id] {
            Node::Folder { live, .. } => live.clone(),
            Node::File(_) => BTreeMap::new(),
        };
        self.walk(&folders, &mut Content::live, ROOT, Path::new(""), &mut image);
        image
    }

    /// A random image of the disk after a power loss now.
    pub(crate) fn image(&self, chance: &mut Rng) -> Image {
        let luck = Luck::draw(chance);
        let mut folders: BTreeMap<Id, BTreeMap<OsString, Id>> = BTreeMap::new();
        for (id, node) in self.nodes.iter().enumerate() {
            if let Node::Folder { synced, .. } = node {
                folders.insert(id, synced.clone());
            }
        }
        let until = chance.below(self.pending.len() as u64 + 1);
        let mut left: HashSet<&Name> = HashSet::new();
        for (count, (_, changes)) in (0..).zip(&self.pending) {
            let happens = match (luck, self.names) {
                (Luck::Nothing, _) => false,
                (Luck::Everything, _) => true,
                (Luck::Torn(_), Names::Journal) => count < until,
                (Luck::Torn(_), Names::Loose) => chance.below(2) == 0,
            };
            if !happens || changes.iter().any(|(name, _)| left.contains(name)) {
                left.extend(changes.iter().map(|(name, _)| name));
                continue;
            }
            for ((folder, name), id) in changes {
                set(folders.entry(*folder).or_default(), name, *id);
            }
        }
        let mut image = Image::new();
        let in_folder = |id: Id| folders.get(&id).cloned().unwrap_or_default();
        self.walk(&in_folder, &mut |content| content.image(luck, chance), ROOT, Path::new(""), &mut image);
        image
    }

    fn walk(
        &self,
        folders: &dyn Fn(Id) -> BTreeMap<OsString, Id>,
        read: &mut dyn FnMut(&Content) -> Found,
        folder: Id,
        path: &Path,
        image: &mut Image,
    ) {
        for (name, id) in folders(folder) {
            let path = path.join(&name);
            match &self.nodes[id] {
                Node::File(content) => drop(image.insert(path, read(content))),
                Node::Folder { .. } => self.walk(folders, read, id, &path, image),
            }
        }
    }
}

fn set(folder: &mut BTreeMap<OsString, Id>, name: &OsStr, id: Option<Id>) {
    match id {
        Some(id) => drop(folder.insert(name.to_owned(), id)),
        None => drop(folder.remove(name)),
    }
}

/// Writes an image below a folder; programs are copied from the same path below `programs`.
pub(crate) fn write(image: &Image, folder: &Path, programs: Option<&Path>) {
    for (path, found) in image {
        let to = folder.join(path);
        fs::create_dir_all(to.parent().unwrap_or(folder)).expect("the folder can be created");
        match (found, programs) {
            (Found::Bytes(bytes), _) => fs::write(&to, bytes).expect("the file can be written"),
            (Found::Program, Some(programs)) => drop(fs::copy(programs.join(path), &to).expect("a file can be copied")),
            (Found::Program, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::power::trace::Data;

    fn story(changes: &[Change]) -> Vec<Event> {
        let event = |(at, change): (usize, &Change)| Event { change: change.clone(), began_after: at, log_bytes: 0 };
        changes.iter().enumerate().map(event).collect()
    }

    fn path(text: &str) -> PathBuf {
        PathBuf::from(text)
    }

    /// All images of a list of changes, with every outcome of its last event.
    fn images(changes: &[Change], names: Names, lie: Option<Lie>) -> BTreeSet<Image> {
        let mut disk = Disk::new(names, lie);
        story(changes).iter().for_each(|event| disk.take(event));
        let mut chance = Rng::new(3);
        (0..300).map(|_| disk.image(&mut chance)).collect()
    }

    fn replace(syncs_file: bool, syncs_folder: bool) -> Vec<Change> {
        let write =
            |text: &str| Change::Write { path: path("a.new"), at: None, data: Data::Bytes(text.as_bytes().to_vec()) };
        let make = || Change::Open { path: path("a.new"), makes: true, empties: true };
        let sync = |of: &str| Change::Sync { path: path(of), failed: false };
        let rename = || Change::Rename { from: path("a.new"), to: path("a") };
        let mut changes = vec![make(), write("old"), sync("a.new"), rename(), sync(""), make(), write("new")];
        changes.extend(syncs_file.then(|| sync("a.new")));
        changes.push(rename());
        changes.extend(syncs_folder.then(|| sync("")));
        changes
    }

    fn contents(images: &BTreeSet<Image>) -> BTreeSet<Option<String>> {
        let content = |image: &Image| match image.get(&path("a"))? {
            Found::Bytes(bytes) => String::from_utf8(bytes.clone()).ok(),
            Found::Program => None,
        };
        images.iter().map(content).collect()
    }

    #[test]
    fn file_is_new_when_replaced_with_all_syncs() {
        for names in [Names::Loose, Names::Journal] {
            assert_eq!(contents(&images(&replace(true, true), names, None)), [Some("new".to_owned())].into());
            // Until the folder is synced, the old file may be there.
            let either = [Some("new".to_owned()), Some("old".to_owned())].into();
            assert_eq!(contents(&images(&replace(true, false), names, None)), either);
        }
    }

    #[test]
    fn file_can_be_empty_when_renamed_without_sync() {
        for (changes, lie) in [(replace(false, true), None), (replace(true, true), Some(Lie::Files("a.new")))] {
            let found = contents(&images(&changes, Names::Journal, lie));
            assert!(found.contains(&Some(String::new())), "{found:?}");
        }
    }
}
