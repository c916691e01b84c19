//! gapless's files in nginx's configuration: reads, writes and removes them. A reader always sees a complete file, the
//! old one or the new one. No other file is ever changed.

use gapless_core::AppKey;
use gapless_effect::{Point, step};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The first line of each file, by which gapless recognizes its own files.
pub(super) const HEADER_LINE: &str =
    "# Written by gapless, and overwritten by it. Change the application's gapless.toml instead.\n";
/// The file of gapless itself. Its name sorts before the files of applications, so that its server is nginx's default
/// one if no other server is: an unknown host is answered with 404, and not by the first application.
pub(super) const GAPLESS_FILE: &str = "00-gapless.conf";
/// The maximum size of a file that is read back, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Contents by file name.
pub(super) type Files = BTreeMap<String, String>;

/// The name of an application's file.
pub(super) fn file_of(key: &AppKey) -> String {
    format!("app-{}.{}.conf", key.app, key.env)
}

/// The name of the file with one page of an application.
pub(super) fn page_of(key: &AppKey, page: &str) -> String {
    format!("app-{}.{}.{page}.html", key.app, key.env)
}

/// Why the files cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    #[error(
        "{} cannot be used: {error}; gapless needs write access to the folder that `config_dir` in server.toml names",
        path.display()
    )]
    Io { path: PathBuf, error: io::Error },
    #[error("{} was not written by gapless, but has a name that gapless needs; move it away", .0.display())]
    NotOwn(PathBuf),
}

/// The prefix of the name of a file that is not complete yet.
const UNFINISHED: &str = ".gapless-";

fn is_own(name: &str) -> bool {
    name == GAPLESS_FILE || (name.starts_with("app-") && (name.ends_with(".conf") || name.ends_with(".html")))
}

/// The files of one application.
pub(super) fn of(key: &AppKey, files: &Files) -> Files {
    let prefix = format!("app-{}.{}.", key.app, key.env);
    let own = files.iter().filter(|(name, _)| name.starts_with(&prefix));
    own.map(|(name, text)| (name.clone(), text.clone())).collect()
}

/// Reads gapless's files.
pub(super) fn read(folder: &Path) -> Result<Files, FilesError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| FilesError::Io { path, error }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    let mut files = Files::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let entry = entry.map_err(failed(folder))?;
        let path = entry.path();
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        if name.starts_with(UNFINISHED) {
            // Left behind by a server that was killed. nginx does not read it, so a failed removal is harmless.
            let _ = fs::remove_file(&path);
        }
        if !is_own(&name) {
            continue;
        }
        let metadata = entry.metadata().map_err(failed(&path))?;
        if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            return Err(FilesError::NotOwn(path));
        }
        let text = String::from_utf8_lossy(&fs::read(&path).map_err(failed(&path))?).into_owned();
        if name.ends_with(".conf") && !text.starts_with(HEADER_LINE) {
            return Err(FilesError::NotOwn(path));
        }
        files.insert(name, text);
    }
    Ok(files)
}

/// Changes the files on disk from `present` to `wanted`.
pub(super) fn write(folder: &Path, present: &Files, wanted: &Files) -> Result<(), FilesError> {
    let mut is_changed = false;
    for (name, text) in wanted.iter().filter(|(name, text)| present.get(*name) != Some(text)) {
        let path = folder.join(name);
        put(folder, &path, text).map_err(|error| FilesError::Io { path, error })?;
        is_changed = true;
    }
    for name in present.keys().filter(|name| !wanted.contains_key(*name)) {
        let path = folder.join(name);
        match step(Point::NginxRemove, || fs::remove_file(&path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(FilesError::Io { path, error }),
            _ => is_changed = true,
        }
    }
    if is_changed {
        let synced = step(Point::NginxFolder, || File::open(folder)?.sync_all());
        synced.map_err(|error| FilesError::Io { path: folder.to_owned(), error })?;
    }
    Ok(())
}

fn put(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    let new = || tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder);
    let mut file = step(Point::NginxCreate, new)?;
    step(Point::NginxWrite, || file.write_all(text.as_bytes()))?;
    // nginx's workers run as another user, and serve pages.
    let mode = if path.extension().is_some_and(|extension| extension == "html") { 0o644 } else { 0o640 };
    file.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    step(Point::NginxSync, || file.as_file().sync_all())?;
    step(Point::NginxRename, || file.persist(path).map_err(|error| error.error))?;
    Ok(())
}

/// The digest of the names and contents of files.
pub(super) fn digest(files: &Files) -> u64 {
    hash(files.iter().flat_map(|(name, text)| name.bytes().chain([0]).chain(text.bytes()).chain([0])))
}

/// FNV-1a.
pub(super) fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
