//! What a gate says: told at once to who follows, and its last lines kept.

use gapless_core::gate::LINES_KEPT;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// The longest line that is kept, in bytes.
const LINE_BYTES_MAX: usize = 4096;

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
    pub(super) async fn take(&self, source: impl AsyncRead + Unpin) {
        let mut source = BufReader::new(source);
        let mut bytes = Vec::new();
        while let Ok(1..) = source.read_until(b'\n', &mut bytes).await {
            self.line(&String::from_utf8_lossy(&bytes));
            bytes.clear();
        }
    }
}
