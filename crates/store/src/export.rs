//! Entries as a file that any store can be filled from: lines of JSON, the first with the format's version, the last
//! with the number of entries and a checksum of all lines before it.
//!
//! ```text
//! {"gapless_export":1,"revision":42}
//! {"key":"/gapless/owner","value":"6f1c…"}
//! {"key":"/gapless/blob","base64":"AAEC"}
//! {"entries":2,"sha256":"…"}
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::{self, BufRead};

/// The version of the format.
const VERSION: u32 = 1;
/// The longest line: a value of the largest size, and what writing it as JSON makes of it at worst.
const LINE_BYTES_MAX: u64 = 8 << 20;

/// Why an export cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is none.
    #[error("line {line} is not one of an export of gapless: {why}")]
    NotOne {
        /// The line, from 1.
        line: usize,
        /// Why.
        why: String,
    },
    /// A newer gapless wrote it.
    #[error("a newer gapless wrote it (format {0}; this one reads {VERSION}); use that one")]
    Newer(u32),
    /// It ends before its end.
    #[error("it is cut short after {0} entries; use another copy")]
    CutShort(u64),
    /// It was changed since it was written.
    #[error("its checksum is not that of its lines: it was changed or damaged; use another copy")]
    Damaged,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    gapless_export: u32,
    revision: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Foot {
    entries: u64,
    sha256: String,
}

/// The lines of an export of those entries, each with its end.
pub fn lines(revision: u64, entries: Vec<(String, Vec<u8>)>) -> impl Iterator<Item = Vec<u8>> + Send + 'static {
    let mut digest = Sha256::new();
    let count = entries.len() as u64;
    let head = line(&Head { gapless_export: VERSION, revision });
    let body = entries.into_iter().map(|(key, value)| match String::from_utf8(value) {
        Ok(text) => line(&Line { key, value: Some(text), base64: None }),
        Err(bytes) => line(&Line { key, value: None, base64: Some(STANDARD.encode(bytes.as_bytes())) }),
    });
    let mut all = std::iter::once(head).chain(body);
    let mut is_ended = false;
    std::iter::from_fn(move || {
        if let Some(next) = all.next() {
            digest.update(&next);
            return Some(next);
        }
        if std::mem::replace(&mut is_ended, true) {
            return None;
        }
        Some(line(&Foot { entries: count, sha256: hex(&std::mem::take(&mut digest).finalize()) }))
    })
}

/// Reads an export to its end and hands each entry on; how many there are. What was handed on counts only if no error
/// comes: read it once before anything is done with it.
///
/// # Errors
/// [`ExportError`], or that of `take`.
pub fn read<E: From<ExportError>>(
    reader: impl BufRead,
    mut take: impl FnMut(String, Vec<u8>) -> Result<(), E>,
) -> Result<u64, E> {
    let mut reader = Lines { reader, number: 0 };
    let mut digest = Sha256::new();
    let head = reader.next()?.ok_or_else(|| not_one(1, "it is empty"))?;
    let parsed: Head = serde_json::from_slice(&head).map_err(|error| not_one(1, error))?;
    if parsed.gapless_export > VERSION {
        return Err(ExportError::Newer(parsed.gapless_export).into());
    }
    digest.update(&head);
    let mut count = 0;
    while let Some(text) = reader.next()? {
        if let Ok(foot) = serde_json::from_slice::<Foot>(&text) {
            if foot.sha256 != hex(&digest.finalize()) || foot.entries != count {
                return Err(ExportError::Damaged.into());
            }
            return match reader.next()? {
                None => Ok(count),
                Some(_) => Err(not_one(reader.number, "it comes after the end").into()),
            };
        }
        let entry: Line = serde_json::from_slice(&text).map_err(|error| not_one(reader.number, error))?;
        let value = match (entry.value, entry.base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(coded)) => STANDARD.decode(coded).map_err(|error| not_one(reader.number, error))?,
            _ => return Err(not_one(reader.number, "it has not one value").into()),
        };
        digest.update(&text);
        count += 1;
        take(entry.key, value)?;
    }
    Err(ExportError::CutShort(count).into())
}

struct Lines<R> {
    reader: R,
    number: usize,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<Vec<u8>>, ExportError> {
        let mut text = Vec::new();
        self.number += 1;
        io::Read::take(&mut self.reader, LINE_BYTES_MAX).read_until(b'\n', &mut text)?;
        Ok((!text.is_empty()).then_some(text))
    }
}

fn not_one(line: usize, why: impl ToString) -> ExportError {
    ExportError::NotOne { line, why: why.to_string() }
}

fn line(value: &impl Serialize) -> Vec<u8> {
    // Nothing in it is what JSON has not.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<(String, Vec<u8>)> {
        vec![("/a".to_owned(), b"text\n\"".to_vec()), ("/ä".to_owned(), vec![0, 255, 10]), ("/e".to_owned(), vec![])]
    }

    fn read_all(text: &[u8]) -> Result<Vec<(String, Vec<u8>)>, ExportError> {
        let mut found = Vec::new();
        let count = read(text, |key, value| {
            found.push((key, value));
            Ok::<_, ExportError>(())
        })?;
        assert_eq!(count as usize, found.len());
        Ok(found)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text: Vec<u8> = lines(7, entries()).flatten().collect();
        assert_eq!(read_all(&text).unwrap(), entries());
        let text: Vec<u8> = lines(0, Vec::new()).flatten().collect();
        assert_eq!(read_all(&text).unwrap(), []);
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_noticed() {
        let text: Vec<u8> = lines(7, entries()).flatten().collect();
        for length in 0..text.len() - 1 {
            assert!(read_all(&text[..length]).is_err(), "cut at {length}");
        }
        for at in 0..text.len() - 1 {
            let mut changed = text.clone();
            changed[at] ^= 1;
            assert!(read_all(&changed).is_err(), "changed at {at}: {}", String::from_utf8_lossy(&changed));
        }
        let mut more = text.clone();
        more.extend(b"{}\n");
        assert!(matches!(read_all(&more), Err(ExportError::NotOne { .. })));
        assert!(matches!(read_all(b"{\"gapless_export\":2,\"revision\":1}\n"), Err(ExportError::Newer(2))));
    }
}
