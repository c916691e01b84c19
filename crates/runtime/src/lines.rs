//! Lines of what comes in pieces.

/// Puts lines together, in memory that does not grow with what comes.
#[derive(Debug)]
pub struct Lines {
    bytes_max: usize,
    line: Vec<u8>,
}

impl Lines {
    /// Lines of at most so many bytes: of a longer one the rest is dropped.
    #[must_use]
    pub const fn of_at_most(bytes_max: usize) -> Self {
        Lines { bytes_max, line: Vec::new() }
    }

    /// Takes what comes next. `tell` gets each line that ends in it, without its newline.
    pub fn take(&mut self, piece: &[u8], mut tell: impl FnMut(&[u8])) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            let room = self.bytes_max.saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if text.len() < part.len() {
                tell(&self.line);
                self.line.clear();
            }
        }
    }

    /// Nothing more comes: what there is of a line without its newline is one, too.
    pub fn end(self, tell: impl FnOnce(&[u8])) {
        if !self.line.is_empty() {
            tell(&self.line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn however_text_is_cut_into_pieces_its_lines_are_the_same_and_bounded() {
        let text = b"one\n\ntwo and a half\nthree\nlast";
        for size in 1..=text.len() {
            let (mut lines, mut told) = (Lines::of_at_most(5), Vec::new());
            for piece in text.chunks(size) {
                lines.take(piece, |line| told.push(String::from_utf8(line.to_vec()).unwrap()));
                assert!(lines.line.len() <= 5);
            }
            lines.end(|line| told.push(String::from_utf8(line.to_vec()).unwrap()));
            assert_eq!(told, ["one", "", "two a", "three", "last"], "pieces of {size}");
        }
    }
}
