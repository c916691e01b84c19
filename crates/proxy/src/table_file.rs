//! The last good table on disk: what a data plane routes by when it starts and the control plane is away.

use gapless_core::routes::RouteTable;
use gapless_effect::{Point, step};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What is on disk.
#[derive(Debug)]
pub enum Loaded {
    /// A good table.
    Table(Box<RouteTable>),
    /// Nothing.
    Missing,
    /// Something that is no table; it was moved aside to be looked at.
    Corrupt {
        /// Where it is now.
        aside: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Reads the table.
///
/// # Errors
/// Where the file is there and cannot be read or moved aside.
pub fn load(file: &Path) -> io::Result<Loaded> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Missing),
        Err(error) => return Err(error),
    };
    match serde_json::from_slice(&bytes) {
        Ok(table) => Ok(Loaded::Table(Box::new(table))),
        Err(error) => {
            let aside = beside(file, ".corrupt");
            fs::rename(file, &aside)?;
            Ok(Loaded::Corrupt { aside, reason: error.to_string() })
        }
    }
}

/// Writes the table, as JSON, so that after a crash at any moment there is either the old one or this one.
///
/// # Errors
/// What the system says; then the old one is still there.
pub(crate) fn store(file: &Path, table: &[u8]) -> io::Result<()> {
    let new = beside(file, ".new");
    let mut written = step(Point::TableCreate, || File::create(&new))?;
    step(Point::TableWrite, || written.write_all(table))?;
    step(Point::TableSync, || written.sync_all())?;
    drop(written);
    step(Point::TableRename, || fs::rename(&new, file))?;
    let directory = file.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    step(Point::TableFolder, || File::open(directory)?.sync_all())
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}
