//! What happened in a simulation, as a timeline. It is only kept where somebody will read it.

use std::fmt;
use std::time::Duration;

/// Lines that are kept.
const LINES_MAX: usize = 5_000;

/// After this long without anything a timeline begins a new group.
const PAUSE: Duration = Duration::from_secs(1);

/// Who did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Somebody who uses gapless.
    Person,
    /// A server, by its number.
    Server(usize),
    /// What the records say now.
    Record,
    /// The runtime, on gapless's behalf or not.
    Runtime,
    /// A data plane.
    Plane(usize),
    /// What goes wrong by itself.
    Chance,
    /// The judge of it all.
    Judge,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Person => f.pad("person"),
            Who::Server(index) => f.pad(&format!("server {index}")),
            Who::Record => f.pad("record"),
            Who::Runtime => f.pad("runtime"),
            Who::Plane(index) => f.pad(&format!("plane {index}")),
            Who::Chance => f.pad("chance"),
            Who::Judge => f.pad("judge"),
        }
    }
}

/// A story, line by line.
pub(crate) struct Story {
    is_kept: bool,
    lines: Vec<(Duration, Who, String)>,
}

impl Story {
    pub(crate) const fn new(is_kept: bool) -> Self {
        Story { is_kept, lines: Vec::new() }
    }

    /// Adds a line, which is made only where the story is kept.
    pub(crate) fn tell(&mut self, at: Duration, who: Who, line: impl FnOnce() -> String) {
        if self.is_kept && self.lines.len() < LINES_MAX {
            self.lines.push((at, who, line()));
        }
    }

    /// The timeline: the instant only where it is another one, an empty line where nothing happened for a while.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut last = None;
        for (at, who, line) in &self.lines {
            let millis = at.as_millis();
            if last.is_some_and(|last| millis >= last + PAUSE.as_millis()) {
                lines.push(String::new());
            }
            let shown = if last == Some(millis) { String::new() } else { format!("{:.3} s", at.as_secs_f64()) };
            lines.push(format!("{shown:>10}  {who:<9} {line}"));
            last = Some(millis);
        }
        lines
    }
}
