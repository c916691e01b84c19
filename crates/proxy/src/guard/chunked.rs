//! Reads chunked bodies strictly: where one ends is where the next request begins, and all must agree on it.

use super::head::{is_token_byte, is_value};
use super::refusal::Refusal;

/// Bytes of chunk extensions in one body. Nobody uses them; 16 KiB of them per byte of data is an attack.
const EXTENSION_BYTES_MAX: usize = 1024;
/// Bytes of the trailers of one body.
const TRAILER_BYTES_MAX: usize = 8 << 10;

/// Reads one chunked body, over as many reads as it takes.
#[derive(Debug, Default)]
pub(crate) struct ChunkScan {
    at: At,
    size: u64,
    digits: u8,
    extension_bytes: usize,
    trailer_bytes: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum At {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
}

impl ChunkScan {
    /// Reads on. Returns how many of `bytes` belong to the body, and whether it is complete.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<(usize, bool), Refusal> {
        let mut i = 0;
        while i < bytes.len() {
            if self.at == At::Data {
                let take = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len() - i);
                self.size -= take as u64;
                i += take;
                if self.size == 0 {
                    self.at = At::DataCr;
                }
                continue;
            }
            let is_end = self.at == At::EndLf;
            self.step(bytes[i])?;
            i += 1;
            if is_end {
                return Ok((i, true));
            }
        }
        Ok((i, false))
    }

    fn step(&mut self, byte: u8) -> Result<(), Refusal> {
        const SIZE: Refusal = Refusal::bad("a chunk size is malformed");
        const END: Refusal = Refusal::bad("a chunk does not end with CR LF");
        const TRAILER: Refusal = Refusal::bad("a trailer is malformed");
        self.at = match (self.at, byte) {
            (At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if self.digits < 15 => {
                let digit = match byte {
                    b'0'..=b'9' => byte - b'0',
                    _ => (byte | 0x20) - b'a' + 10,
                };
                self.size = self.size << 4 | u64::from(digit);
                self.digits += 1;
                At::Size
            }
            (At::Size, b'\r') if self.digits > 0 => At::SizeLf,
            (At::Size, b';') if self.digits > 0 => At::Extension,
            (At::Extension, b'\r') => At::SizeLf,
            (At::Extension, _) if is_value(&[byte]) => {
                self.extension_bytes += 1;
                if self.extension_bytes > EXTENSION_BYTES_MAX {
                    return Err(Refusal::bad("the chunk extensions are too long"));
                }
                At::Extension
            }
            (At::SizeLf, b'\n') => {
                self.digits = 0;
                if self.size == 0 { At::TrailerStart } else { At::Data }
            }
            (At::Size | At::Extension | At::SizeLf, _) => return Err(SIZE),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size,
            (At::DataCr | At::DataLf, _) => return Err(END),
            (At::TrailerStart, b'\r') => At::EndLf,
            (At::TrailerStart | At::TrailerName, _) if is_token_byte(byte) => At::TrailerName,
            (At::TrailerName, b':') => At::TrailerValue,
            (At::TrailerValue, b'\r') => At::TrailerLf,
            (At::TrailerValue, _) if is_value(&[byte]) => At::TrailerValue,
            (At::TrailerLf, b'\n') => At::TrailerStart,
            (At::EndLf, b'\n') => At::EndLf,
            _ => return Err(TRAILER),
        };
        if matches!(self.at, At::TrailerName | At::TrailerValue) {
            self.trailer_bytes += 1;
            if self.trailer_bytes > TRAILER_BYTES_MAX {
                return Err(Refusal::HEAD_TOO_LARGE);
            }
        }
        Ok(())
    }
}
