//! The output of a gate: sent line by line to clients that follow, and its last lines kept for the record.

use gapless_core::gate::LINES_KEPT;
use gapless_runtime::Lines;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The maximum length of a line, in bytes; the rest is cut off.
const LINE_BYTES_MAX: usize = 4096;
/// The size of one read, in bytes.
const PIECE_BYTES: usize = 16 << 10;

/// The output of one attempt of a gate.
#[derive(Clone)]
pub struct Output {
    on_line: Arc<dyn Fn(&str) + Send + Sync>,
    last: Arc<Mutex<VecDeque<String>>>,
}

impl Output {
    /// An output that calls `on_line` with each line.
    pub fn new(on_line: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Output { on_line: Arc::new(on_line), last: Arc::default() }
    }

    /// Adds a line.
    pub fn line(&self, line: &str) {
        let line = line.trim_end_matches(['\n', '\r']);
        let line = line.get(..line.floor_char_boundary(LINE_BYTES_MAX)).unwrap_or_default();
        (self.on_line)(line);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.push_back(line.to_owned());
        if last.len() > LINES_KEPT {
            last.pop_front();
        }
    }

    /// The last lines, at most [`LINES_KEPT`].
    #[must_use]
    pub fn last_lines(&self) -> Vec<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Reads `source` to its end.
    pub(super) async fn read(&self, mut source: impl AsyncRead + Unpin) {
        let mut lines = Output::lines();
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(count @ 1..) = source.read(&mut piece).await {
            self.piece(&mut lines, &piece[..count]);
        }
        self.end(lines);
    }

    /// The buffer in which [`Output::piece`] assembles lines.
    pub(super) const fn lines() -> Lines {
        Lines::bounded(LINE_BYTES_MAX)
    }

    /// Adds a piece of the output.
    pub(super) fn piece(&self, lines: &mut Lines, piece: &[u8]) {
        lines.take(piece, |line| self.line(&String::from_utf8_lossy(line)));
    }

    /// Ends the output: an unfinished last line counts as a line.
    pub(super) fn end(&self, lines: Lines) {
        lines.end(|line| self.line(&String::from_utf8_lossy(line)));
    }
}
