//! Programs of releases: a copy is kept under its checksum, and the copy is what runs. So the next build can overwrite
//! the program, and the live release and a rollback still run what they ran.

use super::folder::{Folders, failed};
use crate::RuntimeError;
use gapless_core::spec::Process;
use sha2::{Digest, Sha256};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Keeps a copy of the program; the answer names it.
pub(super) fn keep(folders: &Folders, process: &Process) -> Result<String, RuntimeError> {
    let Some(program) = process.command.first().map(Path::new) else {
        return Err(unusable("the command", "it is empty"));
    };
    let shown = program.display().to_string();
    let metadata = fs::metadata(program).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            unusable(&shown, "there is no such file on the server's host; build it, or correct the command")
        }
        _ => unusable(&shown, &error.to_string()),
    })?;
    if !metadata.is_file() {
        return Err(unusable(&shown, "it is not a file"));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(unusable(&shown, &format!("it may not be executed; `chmod +x {shown}`")));
    }
    if !Path::new(&process.directory).is_dir() {
        return Err(unusable(&process.directory, "there is no such folder on the server's host"));
    }
    let beside = folders.releases().join(format!("new-{}", std::process::id()));
    let copied = copy(program, &beside);
    let checksum = copied.map_err(|error| failed(&folders.releases(), &error))?;
    let folder = folders.releases().join(&checksum);
    let settled = fs::create_dir_all(&folder)
        .and_then(|()| fs::rename(&beside, folder.join(file_name(program))))
        .and_then(|()| File::open(&folder)?.sync_all())
        .and_then(|()| File::open(folders.releases())?.sync_all());
    settled.map_err(|error| failed(&folder, &error))?;
    Ok(format!("sha256:{checksum}"))
}

/// Where the copy of a release's program is.
pub(super) fn kept(folders: &Folders, artifact: &str, process: &Process) -> Option<PathBuf> {
    let checksum = artifact.strip_prefix("sha256:")?;
    Some(folders.releases().join(checksum).join(file_name(Path::new(process.command.first()?))))
}

fn file_name(program: &Path) -> PathBuf {
    program.file_name().map_or_else(|| "program".into(), PathBuf::from)
}

fn copy(from: &Path, to: &Path) -> io::Result<String> {
    let (mut source, mut copy) = (File::open(from)?, File::create(to)?);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        copy.write_all(&buffer[..count])?;
    }
    copy.set_permissions(Permissions::from_mode(0o755))?;
    copy.sync_all()?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn unusable(what: &str, why: &str) -> RuntimeError {
    RuntimeError::Artifact { what: what.to_owned(), why: why.to_owned() }
}
