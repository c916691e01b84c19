//! The export format: entries as a file that fills any store. Lines of JSON, the first with the version of the format,
//! the last with the number of entries and a checksum of all lines before it.
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
/// The longest line in bytes: the largest value, in its longest form as JSON.
const LINE_BYTES_MAX: u64 = 8 << 20;

/// An export that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The file cannot be read.
    #[error("the export cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The file is not an export.
    #[error("this is not an export of gapless: line {line}: {why}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// The cause.
        why: String,
    },
    /// A newer gapless wrote the export.
    #[error("the export has format {0}, and this gapless reads {VERSION}; import it with the newer gapless")]
    Newer(u32),
    /// The file ends before the last line of the export.
    #[error("the export is truncated after {0} entries; use another copy")]
    CutShort(u64),
    /// The file was changed after it was written.
    #[error("the export's checksum does not match its lines: it was changed or damaged; use another copy")]
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

/// The lines of an export of `entries`, each with its line end.
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

/// Reads an export to its end, passes each entry to `take`, and returns their number. The entries count only if there
/// is no error: read the file once before acting on any of it.
///
/// [`ExportError`], or the error of `take`.
/// [`ExportError`], or that of `take`.
pub fn read<E: From<ExportError>>(
    reader: impl BufRead,
    mut take: impl FnMut(String, Vec<u8>) -> Result<(), E>,
) -> Result<u64, E> {
    let mut reader = Lines { reader, number: 0 };
    let mut digest = Sha256::new();
    let head = reader.next()?.ok_or_else(|| malformed(1, "the file is empty"))?;
    let parsed: Head = serde_json::from_slice(&head).map_err(|error| malformed(1, error))?;
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
                Some(_) => Err(malformed(reader.number, "there is a line after the last one").into()),
            };
        }
        let entry: Line = serde_json::from_slice(&text).map_err(|error| malformed(reader.number, error))?;
        let value = match (entry.value, entry.base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(coded)) => STANDARD.decode(coded).map_err(|error| malformed(reader.number, error))?,
            _ => return Err(malformed(reader.number, "an entry has exactly one of `value` and `base64`").into()),
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

fn malformed(line: usize, why: impl ToString) -> ExportError {
    ExportError::Malformed { line, why: why.to_string() }
}

fn line(value: &impl Serialize) -> Vec<u8> {
    // These values always serialize.
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
    fn export_is_read_back_unchanged() {
        let text: Vec<u8> = lines(7, entries()).flatten().collect();
        assert_eq!(read_all(&text).unwrap(), entries());
        let text: Vec<u8> = lines(0, Vec::new()).flatten().collect();
        assert_eq!(read_all(&text).unwrap(), []);
    }

    #[test]
    fn every_truncation_and_changed_byte_is_detected() {
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
        assert!(matches!(read_all(&more), Err(ExportError::Malformed { .. })));
        assert!(matches!(read_all(b"{\"gapless_export\":2,\"revision\":1}\n"), Err(ExportError::Newer(2))));
    }
}
