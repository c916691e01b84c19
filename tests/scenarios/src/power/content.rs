//! The content of a file on disk after a power loss: everything that was synced, and any part of the later writes.

use super::trace::Data;
use gapless_harness::Rng;
use std::collections::BTreeMap;
use std::ops::Range;

/// A page is written to the disk with its content in memory at some moment.
const PAGE: usize = 4096;
/// A unit that is never torn.
const SECTOR: usize = 512;

/// Stands for bytes that are not in the log, to distinguish them from missing bytes; one byte for each page is enough.
const UNKNOWN: u8 = 0xAA;

/// A change of the bytes of a file.
#[derive(Debug, Clone)]
enum Piece {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
}

/// The part of the unsynced changes that reaches the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Luck {
    /// Nothing.
    Nothing,
    /// Everything.
    Everything,
    /// Each page (or sector) independently, as it was after some of the changes.
    Torn(usize),
}

impl Luck {
    pub(super) fn draw(chance: &mut Rng) -> Luck {
        *chance.one_of(&[
            Luck::Nothing,
            Luck::Everything,
            Luck::Torn(PAGE),
            Luck::Torn(PAGE),
            Luck::Torn(SECTOR),
            Luck::Torn(SECTOR),
        ])
    }
}

impl Piece {
    /// Keeps the part before the end of a truncated file; returns whether there is any.
    fn is_cut(&mut self, length: usize) -> bool {
        if let Piece::Write { at, bytes } = self {
            bytes.truncate(length.saturating_sub(*at));
            return !bytes.is_empty();
        }
        false
    }

    fn page(&self) -> usize {
        match self {
            Piece::Write { at, .. } | Piece::Truncate(at) => at / PAGE,
        }
    }
}

/// The content that is found in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Found {
    /// The bytes themselves.
    Bytes(Vec<u8>),
    /// A complete program, which is too long for the log.
    Program,
}

/// The bytes of a file: those certainly on disk, and those in memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    synced: Vec<u8>,
    live: Vec<u8>,
    /// Unsynced changes, each with its number.
    pending: Vec<(usize, Piece)>,
    /// Changes that a failed sync lost, each within a page.
    lost: Vec<Piece>,
    /// The content has bytes that are not in the log: each page of them is one byte here.
    is_unknown: bool,
}

impl Content {
    /// The content that processes see.
    pub(super) fn live(&self) -> Found {
        self.found(self.live.clone())
    }

    /// The meaning of bytes on disk.
    fn found(&self, bytes: Vec<u8>) -> Found {
        if self.is_unknown && bytes == self.live { Found::Program } else { Found::Bytes(bytes) }
    }

    pub(super) fn write(&mut self, number: usize, at: Option<usize>, data: &Data) {
        let at = at.unwrap_or(self.live.len());
        let bytes = match data {
            Data::Bytes(bytes) => bytes.clone(),
            Data::Unknown(count) => {
                self.is_unknown = true;
                vec![UNKNOWN; count.div_ceil(PAGE)]
            }
        };
        self.change(number, Piece::Write { at, bytes });
    }

    pub(super) fn truncate(&mut self, number: usize, length: usize) {
        self.change(number, Piece::Truncate(length));
    }

    fn change(&mut self, number: usize, piece: Piece) {
        apply(&mut self.live, &piece);
        self.pending.push((number, piece));
    }

    /// Puts the changes before the change `end` on disk.
    pub(super) fn sync(&mut self, end: usize) {
        let count = self.pending.iter().take_while(|(number, _)| *number < end).count();
        for (_, piece) in self.pending.drain(..count) {
            if let Piece::Truncate(length) = piece {
                self.lost.retain_mut(|lost| lost.is_cut(length));
            }
            // The pages are written from memory, including changes that were lost there before.
            let pages = units(&self.synced, &piece, PAGE);
            self.lost.retain(|lost| {
                let is_there = pages.contains(&lost.page());
                if is_there {
                    apply(&mut self.synced, lost);
                }
                !is_there
            });
            apply(&mut self.synced, &piece);
        }
    }

    /// Loses the changes before the change `end`: after a failed sync the system regards them as written, and no later
    /// sync writes them, except in pages that change again. Lengths are kept in the journal.
    pub(super) fn lose(&mut self, end: usize) {
        let count = self.pending.iter().take_while(|(number, _)| *number < end).count();
        for (_, piece) in self.pending.drain(..count) {
            match piece {
                Piece::Write { at, bytes } => self.lost.extend(pages(at, &bytes)),
                Piece::Truncate(length) => {
                    self.lost.retain_mut(|lost| lost.is_cut(length));
                    apply(&mut self.synced, &piece);
                }
            }
        }
    }

    /// A random content of the disk.
    pub(super) fn image(&self, luck: Luck, chance: &mut Rng) -> Found {
        self.found(self.bytes(luck, chance))
    }

    fn bytes(&self, luck: Luck, chance: &mut Rng) -> Vec<u8> {
        let unit = match luck {
            Luck::Nothing => return self.synced.clone(),
            Luck::Everything => return self.live.clone(),
            Luck::Torn(unit) => unit,
        };
        let pieces: Vec<&Piece> = self.lost.iter().chain(self.pending.iter().map(|(_, piece)| piece)).collect();
        // A truncation is atomic, and later writes cannot reach the disk before it.
        let cuts: Vec<usize> = (0..pieces.len()).filter(|at| matches!(pieces[*at], Piece::Truncate(_))).collect();
        let cut = usize::try_from(chance.below(cuts.len() as u64 + 1)).unwrap_or(0);
        let end = cuts.get(cut).copied().unwrap_or(pieces.len());
        let from = cut.checked_sub(1).map_or(0, |last| cuts[last] + 1);
        let length_after = from + usize::try_from(chance.below((end - from) as u64 + 1)).unwrap_or(0);

        let mut drawn: BTreeMap<usize, usize> = BTreeMap::new();
        let (mut work, mut disk) = (self.synced.clone(), self.synced.clone());
        let mut length = work.len();
        for (number, piece) in (1..).zip(&pieces[..end]) {
            let touched = units(&work, piece, unit);
            apply(&mut work, piece);
            if matches!(piece, Piece::Truncate(_)) {
                apply(&mut disk, piece);
                drawn.clear();
            } else {
                for at in touched {
                    let mut draw = || usize::try_from(chance.below(end as u64 + 1)).unwrap_or(0);
                    let until = *drawn.entry(at).or_insert_with(&mut draw);
                    if number <= until {
                        copy(&work, &mut disk, at * unit..(at + 1) * unit);
                    }
                }
            }
            if number <= length_after {
                length = work.len();
            }
        }
        disk.resize(length, 0);
        disk
    }
}

/// The parts of a write, one for each page.
fn pages(at: usize, bytes: &[u8]) -> Vec<Piece> {
    let (mut parts, mut from) = (Vec::new(), 0);
    while from < bytes.len() {
        let start = at + from;
        let end = bytes.len().min(from + PAGE - start % PAGE);
        parts.push(Piece::Write { at: start, bytes: bytes[from..end].to_vec() });
        from = end;
    }
    parts
}

/// The units that a change touches.
fn units(before: &[u8], piece: &Piece, unit: usize) -> Range<usize> {
    match piece {
        Piece::Write { at, bytes } => at / unit..(at + bytes.len()).div_ceil(unit),
        Piece::Truncate(length) => length / unit..before.len().div_ceil(unit),
    }
}

fn apply(content: &mut Vec<u8>, piece: &Piece) {
    match piece {
        Piece::Write { at, bytes } => {
            let end = at + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*at..end].copy_from_slice(bytes);
        }
        Piece::Truncate(length) => content.resize(*length, 0),
    }
}

/// Copies a range; beyond the end of either buffer there are zeros.
fn copy(from: &[u8], to: &mut Vec<u8>, range: Range<usize>) {
    let end = range.end.min(from.len().max(to.len()));
    if to.len() < end {
        to.resize(end, 0);
    }
    for (at, byte) in to.iter_mut().enumerate().take(end).skip(range.start) {
        *byte = from.get(at).copied().unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn bytes(byte: u8, count: usize) -> Data {
        Data::Bytes(vec![byte; count])
    }

    #[test]
    fn content_survives_only_when_synced() {
        let mut content = Content::default();
        content.write(0, None, &bytes(1, 2 * PAGE));
        content.sync(1);
        content.write(1, Some(0), &bytes(2, 2 * PAGE));
        content.write(2, None, &bytes(3, 10));
        let mut chance = Rng::new(1);
        let images: BTreeSet<Vec<u8>> = (0..200).map(|_| content.bytes(Luck::Torn(SECTOR), &mut chance)).collect();
        assert!(images.len() > 50, "{}", images.len());
        for image in &images {
            assert!(image.len() == 2 * PAGE || image.len() == 2 * PAGE + 10);
            assert!(image[..2 * PAGE].chunks(SECTOR).all(|sector| *sector == [1; SECTOR] || *sector == [2; SECTOR]));
        }
        assert!(images.iter().any(|image| image[..PAGE] != image[PAGE..2 * PAGE]), "torn within the write");
        content.sync(3);
        assert_eq!(content.image(Luck::Torn(PAGE), &mut chance), content.live());
    }

    #[test]
    fn truncated_file_is_old_or_written_since() {
        let mut content = Content::default();
        content.write(0, None, &bytes(1, 2 * PAGE));
        content.sync(1);
        content.truncate(1, 0);
        content.write(2, None, &bytes(2, PAGE));
        let mut chance = Rng::new(1);
        for _ in 0..100 {
            let image = content.bytes(Luck::Torn(SECTOR), &mut chance);
            assert!(image == [1; 2 * PAGE] || image.iter().all(|byte| *byte != 1) && image.len() <= PAGE);
        }
    }

    #[test]
    fn failed_sync_loses_data_until_next_write() {
        let mut content = Content::default();
        content.write(0, None, &bytes(1, 2 * PAGE));
        content.sync(1);
        content.write(1, Some(0), &bytes(2, 2 * PAGE));
        content.lose(2);
        content.sync(2);
        assert_eq!(content.bytes(Luck::Nothing, &mut Rng::new(1)), vec![1; 2 * PAGE]);
        content.write(2, Some(PAGE), &bytes(3, 1));
        content.sync(3);
        let image = content.bytes(Luck::Nothing, &mut Rng::new(1));
        assert_eq!((image[0], image[PAGE], image[PAGE + 1]), (1, 3, 2));

        // The lost data does not return in a truncated file either.
        content.write(3, Some(0), &bytes(4, 20));
        content.lose(4);
        content.truncate(4, 0);
        content.write(5, None, &bytes(5, 10));
        content.sync(6);
        assert_eq!(content.bytes(Luck::Nothing, &mut Rng::new(1)), [5; 10]);
    }
}
