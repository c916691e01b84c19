//! Reads along in what a client sends, request by request, and says how much of it may be passed on. It knows no socket
//! and no clock.

use super::chunked::ChunkScan;
use super::head::{Flags, Framing, HeadFacts, HeadScan};
use super::refusal::Refusal;
use crate::limits::Limits;

/// What comes next on a connection.
pub(crate) enum Scan {
    Head(HeadScan),
    Length(u64),
    Chunked(ChunkScan),
    /// Nothing is passed on until it is decided whether the connection becomes another protocol's.
    Held,
    /// A request was refused: nothing that follows is read.
    Refused,
    /// A body was refused: reading it fails.
    BadBody(Refusal),
}

/// What is found on the way.
pub(crate) enum Found<'a> {
    /// A head has begun, and is not complete.
    Begun,
    /// A head is complete: what it says, and its text.
    Head(HeadFacts, &'a [u8]),
    /// A request is refused.
    Refused(Refusal),
}

impl Default for Scan {
    fn default() -> Self {
        Scan::Head(HeadScan::default())
    }
}

impl Scan {
    /// Reads along in `bytes` and returns how many of them may be passed on. What follows those must be there again, with
    /// more behind it, the next time.
    pub(crate) fn scan(&mut self, bytes: &[u8], limits: &Limits, mut tell: impl FnMut(Found<'_>)) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self {
                Scan::Head(scan) => match scan.advance(rest, limits.head_bytes_max, limits.header_count_max) {
                    Ok(Some((length, facts))) => {
                        at += length;
                        tell(Found::Head(facts, &rest[..length]));
                        *self = match facts.framing {
                            _ if facts.flags.has(Flags::UPGRADE) => Scan::Held,
                            Framing::Length(0) => Scan::default(),
                            Framing::Length(length) => Scan::Length(length),
                            Framing::Chunked => Scan::Chunked(ChunkScan::default()),
                        };
                    }
                    Ok(None) => {
                        tell(Found::Begun);
                        return at;
                    }
                    Err(refusal) => {
                        tell(Found::Refused(refusal));
                        *self = Scan::Refused;
                        return at;
                    }
                },
                Scan::Length(left) => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    at += take;
                    *left -= take as u64;
                    if *left == 0 {
                        *self = Scan::default();
                    }
                }
                Scan::Chunked(scan) => match scan.advance(rest) {
                    Ok((length, is_complete)) => {
                        at += length;
                        if is_complete {
                            *self = Scan::default();
                        }
                    }
                    Err(refusal) => {
                        *self = Scan::BadBody(refusal);
                        return at;
                    }
                },
                Scan::Held | Scan::Refused | Scan::BadBody(_) => return at,
            }
        }
        at
    }
}
