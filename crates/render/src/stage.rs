//! A file on its way to its place: compared with what is there, staged beside it, put in its place at once.

use crate::resource::Resource;
use rustix::fs::{Gid, Uid};
use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempPath};

/// The permissions of a file that is new, where none are asked for.
const NEW_MODE: u32 = 0o644;

/// What a file is to be.
#[derive(Debug)]
pub struct Wanted {
    pub dest: PathBuf,
    pub content: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Wanted {
    /// The file that a resource asks for.
    pub fn of(resource: &Resource, content: Vec<u8>) -> std::io::Result<Wanted> {
        let there = match std::fs::metadata(&resource.dest) {
            Ok(there) => Some(there),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Wanted {
            dest: resource.dest.clone(),
            content,
            mode: resource.mode.unwrap_or_else(|| there.map_or(NEW_MODE, |there| there.mode() & 0o7777)),
            uid: resource.uid.unwrap_or_else(|| rustix::process::geteuid().as_raw()),
            gid: resource.gid.unwrap_or_else(|| rustix::process::getegid().as_raw()),
        })
    }

    /// Whether it is that already: content, permissions and owner.
    pub fn is_there(&self) -> std::io::Result<bool> {
        let there = match std::fs::metadata(&self.dest) {
            Ok(there) => there,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if there.mode() & 0o7777 != self.mode || there.uid() != self.uid || there.gid() != self.gid {
            return Ok(false);
        }
        Ok(there.len() == self.content.len() as u64 && std::fs::read(&self.dest)? == self.content)
    }

    /// Writes it beside its place, under a name that begins with a dot: nobody reads it there.
    pub fn stage(&self) -> std::io::Result<TempPath> {
        let prefix = format!(".{}", self.dest.file_name().unwrap_or_default().to_string_lossy());
        let mut staged: NamedTempFile = tempfile::Builder::new().prefix(&prefix).tempfile_in(self.folder())?;
        self.fill(staged.as_file_mut())?;
        Ok(staged.into_temp_path())
    }

    /// Puts a staged file in its place.
    pub fn place(&self, staged: &Path) -> std::io::Result<()> {
        match std::fs::rename(staged, &self.dest) {
            Ok(()) => File::open(self.folder())?.sync_all(),
            // A file that is mounted, as in a container, cannot be replaced: it is written in its place, as confd does.
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                let mut file = OpenOptions::new().write(true).truncate(true).open(&self.dest)?;
                self.fill(&mut file)
            }
            Err(error) => Err(error),
        }
    }

    fn fill(&self, file: &mut File) -> std::io::Result<()> {
        file.write_all(&self.content)?;
        let there = file.metadata()?;
        if there.uid() != self.uid || there.gid() != self.gid {
            rustix::fs::fchown(&*file, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        }
        // After the owner: changing that takes bits of the mode away.
        file.set_permissions(Permissions::from_mode(self.mode))?;
        file.sync_all()
    }

    fn folder(&self) -> &Path {
        match self.dest.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        }
    }
}
