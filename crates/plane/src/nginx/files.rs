//! gapless's files in nginx's configuration: read, written so that a reader sees the old or the new one whole, and
//! removed. No other file is ever touched.

use gapless_core::AppKey;
use gapless_effect::{Point, step};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The first line of each file, by which gapless knows it as its own.
pub(super) const OWN: &str =
    "# Written by gapless, and overwritten by it. Change the application's gapless.toml instead.\n";
/// The file of gapless itself. It sorts before those of applications, so that its server is nginx's default one where
/// nobody else's is: an unknown host is answered 404, and not by whatever application comes first.
pub(super) const GAPLESS_FILE: &str = "00-gapless.conf";
/// The largest file that is read back, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Contents by file name.
pub(super) type Files = BTreeMap<String, String>;

/// The name of an application's file.
pub(super) fn file_of(key: &AppKey) -> String {
    format!("app-{}.{}.conf", key.app, key.env)
}

/// The name of the file with a page of an application's.
pub(super) fn page_of(key: &AppKey, page: &str) -> String {
    format!("app-{}.{}.{page}.html", key.app, key.env)
}

/// Why the files cannot be had as they should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    #[error("{} cannot be used: {error}; `config_dir` in server.toml names the folder, which gapless must be able to write to", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{} is not gapless's, and has a name that gapless needs; move it away", .0.display())]
    NotOwn(PathBuf),
}

/// How the name of a file begins that is not in its place yet.
const UNFINISHED: &str = ".gapless-";

fn is_ours(name: &str) -> bool {
    name == GAPLESS_FILE || (name.starts_with("app-") && (name.ends_with(".conf") || name.ends_with(".html")))
}

/// Of those files, an application's own.
pub(super) fn of(key: &AppKey, files: &Files) -> Files {
    let prefix = format!("app-{}.{}.", key.app, key.env);
    let own = files.iter().filter(|(name, _)| name.starts_with(&prefix));
    own.map(|(name, text)| (name.clone(), text.clone())).collect()
}

/// gapless's files as they are.
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
            // Left by a server that was killed. nginx does not read it, so nothing depends on its removal.
            let _ = fs::remove_file(&path);
        }
        if !is_ours(&name) {
            continue;
        }
        let metadata = entry.metadata().map_err(failed(&path))?;
        if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            return Err(FilesError::NotOwn(path));
        }
        let text = String::from_utf8_lossy(&fs::read(&path).map_err(failed(&path))?).into_owned();
        if name.ends_with(".conf") && !text.starts_with(OWN) {
            return Err(FilesError::NotOwn(path));
        }
        files.insert(name, text);
    }
    Ok(files)
}

/// Makes them `wanted`, of those that are there as `present` says.
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
    // nginx's workers serve pages as a user of their own.
    let mode = if path.extension().is_some_and(|extension| extension == "html") { 0o644 } else { 0o640 };
    file.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    step(Point::NginxSync, || file.as_file().sync_all())?;
    step(Point::NginxRename, || file.persist(path).map_err(|error| error.error))?;
    Ok(())
}

/// What tells two sets of files apart.
pub(super) fn digest(files: &Files) -> u64 {
    hash(files.iter().flat_map(|(name, text)| name.bytes().chain([0]).chain(text.bytes()).chain([0])))
}

/// FNV-1a.
pub(super) fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
