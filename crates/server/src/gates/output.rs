//! What a gate says: told at once to who follows, and its last lines kept.

use gapless_core::gate::LINES_KEPT;
use gapless_runtime::Lines;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest line that is kept, in bytes.
const LINE_BYTES_MAX: usize = 4096;
/// How much is read at once.
const PIECE_BYTES: usize = 16 << 10;

/// Where the lines of one attempt go.
#[derive(Clone)]
pub struct Output {
    tell: Arc<dyn Fn(&str) + Send + Sync>,
    last: Arc<Mutex<VecDeque<String>>>,
}

impl Output {
    /// An output that tells each line to `tell`.
    pub fn new(tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Output { tell: Arc::new(tell), last: Arc::default() }
    }

    /// Takes a line.
    pub fn line(&self, line: &str) {
        let line = line.trim_end_matches(['\n', '\r']);
        let line = line.get(..line.floor_char_boundary(LINE_BYTES_MAX)).unwrap_or_default();
        (self.tell)(line);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.push_back(line.to_owned());
        if last.len() > LINES_KEPT {
            last.pop_front();
        }
    }

    /// The last lines.
    #[must_use]
    pub fn last_lines(&self) -> Vec<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Takes everything that comes from `source`.
    pub(super) async fn take(&self, mut source: impl AsyncRead + Unpin) {
        let mut lines = Output::lines();
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(count @ 1..) = source.read(&mut piece).await {
            self.piece(&mut lines, &piece[..count]);
        }
        self.end(lines);
    }

    /// What [`Output::piece`] puts lines together in.
    pub(super) const fn lines() -> Lines {
        Lines::bounded(LINE_BYTES_MAX)
    }

    /// Takes a piece of what comes.
    pub(super) fn piece(&self, lines: &mut Lines, piece: &[u8]) {
        lines.take(piece, |line| self.line(&String::from_utf8_lossy(line)));
    }

    /// Nothing more comes.
    pub(super) fn end(&self, lines: Lines) {
        lines.end(|line| self.line(&String::from_utf8_lossy(line)));
    }
}
