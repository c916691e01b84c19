//! Splits a stream into lines.

/// Assembles lines from pieces, in bounded memory.
#[derive(Debug)]
pub struct Lines {
    bytes_max: usize,
    line: Vec<u8>,
}

impl Lines {
    /// Lines of at most `bytes_max` bytes: the rest of a longer line is dropped.
    #[must_use]
    pub const fn bounded(bytes_max: usize) -> Self {
        Lines { bytes_max, line: Vec::new() }
    }

    /// Adds a piece. `on_line` gets each line that ends in it, without its newline.
    pub fn take(&mut self, piece: &[u8], mut on_line: impl FnMut(&[u8])) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            let room = self.bytes_max.saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if text.len() < part.len() {
                on_line(&self.line);
                self.line.clear();
            }
        }
    }

    /// Ends the stream: an unfinished last line counts as a line.
    pub fn end(self, on_line: impl FnOnce(&[u8])) {
        if !self.line.is_empty() {
            on_line(&self.line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn lines_are_bounded_and_independent_of_the_pieces() {
        let text = b"one\n\ntwo and a half\nthree\nlast";
        for size in 1..=text.len() {
            let (mut lines, mut found) = (Lines::bounded(5), Vec::new());
            for piece in text.chunks(size) {
                lines.take(piece, |line| found.push(String::from_utf8(line.to_vec()).unwrap()));
                assert!(lines.line.len() <= 5);
            }
            lines.end(|line| found.push(String::from_utf8(line.to_vec()).unwrap()));
            assert_eq!(found, ["one", "", "two a", "three", "last"], "pieces of {size}");
        }
    }
}
