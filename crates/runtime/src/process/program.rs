//! Programs of releases: the runtime keeps a copy under its checksum and runs the copy. The next build can then
//! overwrite the program without changing the live release or a rollback.

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

/// Copies the program and returns the name of the copy.
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
        return Err(unusable(&shown, "it is not a regular file"));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(unusable(&shown, &format!("it is not executable; run `chmod +x {shown}`")));
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

/// The prefix of the name of an unfinished copy; the writing process's id and start time follow.
const UNFINISHED: &str = "new-";

/// A unique name for an unfinished copy: two deployments may prepare at the same time.
fn unfinished() -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    format!("{UNFINISHED}{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed))
}

/// Removes an unfinished copy when dropped.
struct Removed<'a>(&'a Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        // The file is missing if the copy was completed and renamed.
        let _ = fs::remove_file(self.0);
    }
}

/// Removes the unfinished copies of processes that have ended, and with `begins` also those of an earlier process with
/// this process's id. Copies that another server of this host is writing stay.
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

/// The name that a copy of the program would get, if the program exists.
pub(crate) fn checksum(process: &Process) -> Option<String> {
    let mut program = File::open(process.command.first()?).ok()?;
    let checksum = hashed(&mut program, &mut io::sink()).ok()?;
    Some(format!("sha256:{checksum}"))
}

/// Copies and computes the checksum in one pass.
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

/// The path of the copy of a release's program, if it exists.
pub(crate) fn kept(folders: &Folders, artifact: &str, process: &Process) -> Option<PathBuf> {
    let checksum = artifact.strip_prefix("sha256:")?;
    Some(folders.releases().join(checksum).join(file_name(Path::new(process.command.first()?))))
}

/// How long an unneeded program is retained: a deployment may be about to need it.
const UNUSED_FOR: Duration = Duration::from_secs(3600);

/// Keeps the programs of those releases of an application, and removes programs that no application needs.
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
            // A running program continues: the kernel keeps its file until it ends.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// The checksums of all programs that a release needs; `None` if one of the files that list them cannot be read: the
/// needs of that application are then unknown, and its live release may have to be restarted from a copy.
fn needed(kept: &Path) -> io::Result<Option<BTreeSet<String>>> {
    let mut needed = BTreeSet::new();
    for entry in fs::read_dir(kept)? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "json") {
            // A temporary file of an unfinished write.
            continue;
        }
        let releases: BTreeMap<u64, Artifacts> = match fs::read(&path).map(|text| serde_json::from_slice(&text)) {
            Ok(Ok(releases)) => releases,
            // The application was just removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            _ => {
                tracing::warn!(file = %path.display(), "list of needed programs unreadable; removing no program");
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
