//! Writes a file: compares it with the existing one, stages it beside the destination, and replaces the destination
//! atomically.

use crate::resource::Resource;
use rustix::fs::{Gid, Uid};
use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempPath};

/// The default permissions of a new file.
const NEW_MODE: u32 = 0o644;

/// The wanted file.
#[derive(Debug)]
pub struct NewFile {
    pub dest: PathBuf,
    pub content: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl NewFile {
    /// The file of a resource, with the rendered content.
    pub fn of(resource: &Resource, content: Vec<u8>) -> std::io::Result<NewFile> {
        let there = match std::fs::metadata(&resource.dest) {
            Ok(there) => Some(there),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(NewFile {
            dest: resource.dest.clone(),
            content,
            mode: resource.mode.unwrap_or_else(|| there.map_or(NEW_MODE, |there| there.mode() & 0o7777)),
            uid: resource.uid.unwrap_or_else(|| rustix::process::geteuid().as_raw()),
            gid: resource.gid.unwrap_or_else(|| rustix::process::getegid().as_raw()),
        })
    }

    /// The destination already has this content, these permissions and this owner.
    pub fn is_up_to_date(&self) -> std::io::Result<bool> {
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

    /// Writes the file beside its destination, under a name with a leading dot, which other programs ignore.
    pub fn stage(&self) -> std::io::Result<TempPath> {
        let prefix = format!(".{}", self.dest.file_name().unwrap_or_default().to_string_lossy());
        let mut staged: NamedTempFile = tempfile::Builder::new().prefix(&prefix).tempfile_in(self.folder())?;
        self.fill(staged.as_file_mut())?;
        Ok(staged.into_temp_path())
    }

    /// Replaces the destination by the staged file.
    pub fn place(&self, staged: &Path) -> std::io::Result<()> {
        match std::fs::rename(staged, &self.dest) {
            Ok(()) => File::open(self.folder())?.sync_all(),
            // A mounted file, as in a container, cannot be replaced: it is overwritten, as in confd.
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
        // After the owner: chown clears some bits of the mode.
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
