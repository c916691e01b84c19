//! The last good table on disk: what a data plane routes by when it starts and the control plane is away. Its JSON is the
//! first line of the file, the checksum of that the second: a flipped bit in an address is an address, too.

use gapless_core::routes::RouteTable;
use gapless_effect::{Point, step};
use sha2::{Digest, Sha256};
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
    match decode(&bytes) {
        Ok(table) => Ok(Loaded::Table(Box::new(table))),
        Err(reason) => {
            let aside = beside(file, ".corrupt");
            fs::rename(file, &aside)?;
            Ok(Loaded::Corrupt { aside, reason })
        }
    }
}

/// The table that a file's text is, or why it is none. Text without a checksum is that of a proxy that wrote none yet:
/// after an upgrade it is all there is.
pub(crate) fn decode(bytes: &[u8]) -> Result<RouteTable, String> {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (json, sum) = bytes.split_at(end);
    if !sum.is_empty() && sum != seal(json).as_bytes() {
        return Err("the checksum does not match the text".to_owned());
    }
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

/// The text of a table's file, from its JSON, which has no line ends.
pub(crate) fn encode(mut json: Vec<u8>) -> Vec<u8> {
    let seal = seal(&json);
    json.extend_from_slice(seal.as_bytes());
    json
}

/// What stands behind the JSON: the end of its line, and the line with its checksum.
fn seal(json: &[u8]) -> String {
    let sum: String = Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\n{sum}\n")
}

/// Writes the table, given as JSON, so that after a crash at any moment there is either the old one or this one.
///
/// # Errors
/// What the system says; then the old one is still there.
pub(crate) fn store(file: &Path, json: Vec<u8>) -> io::Result<()> {
    let text = encode(json);
    let new = beside(file, ".new");
    let mut written = step(Point::TableCreate, || File::create(&new))?;
    step(Point::TableWrite, || written.write_all(&text))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &[u8] = br#"{"version":7,"groups":{}}"#;

    #[test]
    fn flipped_bit_or_truncation_is_detected() {
        let whole = encode(JSON.to_vec());
        assert_eq!(decode(&whole).map(|table| table.version), Ok(7));
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}: {}", String::from_utf8_lossy(&flipped));
        }
        for length in (0..whole.len()).filter(|length| *length != JSON.len()) {
            assert!(decode(&whole[..length]).is_err(), "cut at {length}");
        }
        assert!(decode(&[&whole[..], b"more"].concat()).is_err());
    }

    #[test]
    fn table_file_without_checksum_is_read() {
        assert_eq!(decode(JSON).map(|table| table.version), Ok(7));
    }
}
