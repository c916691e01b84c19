//! The timeline of a simulation, recorded only for printing.

use std::fmt;
use std::time::Duration;

/// The largest number of lines.
const LINES_MAX: usize = 5_000;

/// The gap after which the timeline starts a new group.
const PAUSE: Duration = Duration::from_secs(1);

/// The source of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A person who uses gapless.
    Person,
    /// A server, by its number.
    Server(usize),
    /// A change of the records.
    Record,
    /// The runtime, on behalf of gapless or not.
    Runtime,
    /// A data plane, by its number.
    Plane(usize),
    /// A random fault.
    Chance,
    /// The checks of the simulator.
    Judge,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Person => f.pad("person"),
            Source::Server(index) => f.pad(&format!("server {index}")),
            Source::Record => f.pad("record"),
            Source::Runtime => f.pad("runtime"),
            Source::Plane(index) => f.pad(&format!("plane {index}")),
            Source::Chance => f.pad("chance"),
            Source::Judge => f.pad("judge"),
        }
    }
}

/// A timeline of events.
pub(crate) struct Timeline {
    is_kept: bool,
    lines: Vec<(Duration, Source, String)>,
}

impl Timeline {
    pub(crate) const fn new(is_kept: bool) -> Self {
        Timeline { is_kept, lines: Vec::new() }
    }

    /// Adds a line, which is formatted only if the timeline is recorded.
    pub(crate) fn log(&mut self, at: Duration, source: Source, line: impl FnOnce() -> String) {
        if self.is_kept && self.lines.len() < LINES_MAX {
            self.lines.push((at, source, line()));
        }
    }

    /// The lines as text: an instant is shown once, and an empty line marks a gap.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut last = None;
        for (at, source, line) in &self.lines {
            let millis = at.as_millis();
            if last.is_some_and(|last| millis >= last + PAUSE.as_millis()) {
                lines.push(String::new());
            }
            let shown = if last == Some(millis) { String::new() } else { format!("{:.3} s", at.as_secs_f64()) };
            lines.push(format!("{shown:>10}  {source:<9} {line}"));
            last = Some(millis);
        }
        lines
    }
}
