//! Programs of releases: a copy is kept under its checksum, and the copy is what runs. So the next build can overwrite
//! the program, and the live release and a rollback still run what they ran.

use super::folder::{Folders, failed};
use super::identity::Identity;
use crate::RuntimeError;
use gapless_core::spec::Process;
use gapless_core::{AppKey, Artifacts};
use gapless_effect::{Point, step};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Keeps a copy of the program; the answer names it.
pub(crate) fn keep(folders: &Folders, process: &Process) -> Result<String, RuntimeError> {
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
    let beside = folders.releases().join(unfinished());
    let removed = Removed(&beside);
    let copied = step(Point::ProgramCopy, || copy(program, &beside));
    let checksum = copied.map_err(|error| failed(&folders.releases(), &error))?;
    let folder = folders.releases().join(&checksum);
    let settled = step(Point::ProgramFolder, || fs::create_dir_all(&folder))
        .and_then(|()| step(Point::ProgramRename, || fs::rename(&beside, folder.join(file_name(program)))))
        .and_then(|()| {
            step(Point::ProgramSync, || {
                File::open(&folder)?.sync_all()?;
                File::open(folders.releases())?.sync_all()
            })
        });
    settled.map_err(|error| failed(&folder, &error))?;
    drop(removed);
    Ok(format!("sha256:{checksum}"))
}

/// What the name of a copy begins with that is not whole yet; the process that makes it follows.
const UNFINISHED: &str = "new-";

/// The name of a copy that is being made. Several are at once: two deployments may be preparing.
fn unfinished() -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    format!("{UNFINISHED}{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed))
}

/// Removes an unfinished copy when nobody goes on with it.
struct Removed<'a>(&'a Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        // It is not there where it became a whole one.
        let _ = fs::remove_file(self.0);
    }
}

/// Removes the copies that processes were making which are gone, and at its beginning what an earlier one of the same
/// number was making. What another server of this host is making stays.
pub(crate) fn remove_unfinished(folders: &Folders, begins: bool) {
    for entry in fs::read_dir(folders.releases()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let maker =
            name.to_str().and_then(|name| name.strip_prefix(UNFINISHED)?.split('-').next()?.parse::<u32>().ok());
        let is_gone = |pid| match pid == std::process::id() {
            true => begins,
            false => Identity::of(pid).is_ok_and(|maker| maker.is_none_or(|maker| maker.has_ended())),
        };
        if maker.is_some_and(is_gone) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// What a copy of the program would be called, if there is such a program.
pub(crate) fn checksum(process: &Process) -> Option<String> {
    let mut program = File::open(process.command.first()?).ok()?;
    let checksum = hashed(&mut program, &mut io::sink()).ok()?;
    Some(format!("sha256:{checksum}"))
}

/// Copies and hashes at once.
fn hashed(from: &mut impl Read, to: &mut impl Write) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(&buffer[..count]);
        to.write_all(&buffer[..count])?;
    }
}

/// Where the copy of a release's program is.
pub(crate) fn kept(folders: &Folders, artifact: &str, process: &Process) -> Option<PathBuf> {
    let checksum = artifact.strip_prefix("sha256:")?;
    Some(folders.releases().join(checksum).join(file_name(Path::new(process.command.first()?))))
}

/// How long a program that no release needs stays: a deployment may just be about to need it.
const UNUSED_FOR: Duration = Duration::from_secs(3600);

/// Keeps the programs of those releases of an application, and lets go of those that no application needs.
pub(crate) fn keep_only(
    folders: &Folders,
    key: &AppKey,
    releases: &BTreeMap<u64, Artifacts>,
) -> Result<(), RuntimeError> {
    let kept = folders.kept();
    let file = kept.join(format!("{}.{}.json", key.app, key.env));
    let noted = step(Point::ProgramKept, || fs::create_dir_all(&kept)).and_then(|()| match releases.is_empty() {
        true => fs::remove_file(&file).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        }),
        false => super::folder::write(&file, releases),
    });
    noted.map_err(|error| failed(&kept, &error))?;
    remove_unfinished(folders, false);
    let Some(needed) = needed(&kept).map_err(|error| failed(&kept, &error))? else { return Ok(()) };
    let releases = folders.releases();
    for entry in fs::read_dir(&releases).map_err(|error| failed(&releases, &error))?.flatten() {
        let is_needed = entry.file_name().to_str().is_none_or(|name| needed.contains(name));
        let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|at| at.elapsed().ok());
        if !is_needed && age.is_some_and(|age| age > UNUSED_FOR) {
            // What runs goes on running: the kernel keeps its file until it ends.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// The checksums of all programs that some release needs. Nothing where a file that says so cannot be read: what an
/// application needs is not known then, and its live release may be started again from it.
fn needed(kept: &Path) -> io::Result<Option<BTreeSet<String>>> {
    let mut needed = BTreeSet::new();
    for entry in fs::read_dir(kept)? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "json") {
            // Not whole yet, or never to be.
            continue;
        }
        let releases: BTreeMap<u64, Artifacts> = match fs::read(&path).map(|text| serde_json::from_slice(&text)) {
            Ok(Ok(releases)) => releases,
            // Its application has just been removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            _ => {
                tracing::warn!(file = %path.display(), "which programs are needed cannot be read; none is removed");
                return Ok(None);
            }
        };
        let artifacts = releases.into_values().flat_map(|artifacts| artifacts.0.into_values());
        needed.extend(artifacts.filter_map(|artifact| Some(artifact.strip_prefix("sha256:")?.to_owned())));
    }
    Ok(Some(needed))
}

fn file_name(program: &Path) -> PathBuf {
    program.file_name().map_or_else(|| "program".into(), PathBuf::from)
}

fn copy(from: &Path, to: &Path) -> io::Result<String> {
    let (mut source, mut copy) = (File::open(from)?, File::create(to)?);
    let checksum = hashed(&mut source, &mut copy)?;
    copy.set_permissions(Permissions::from_mode(0o755))?;
    copy.sync_all()?;
    Ok(checksum)
}

fn unusable(what: &str, why: &str) -> RuntimeError {
    RuntimeError::Artifact { what: what.to_owned(), why: why.to_owned() }
}
