//! The problems of a file, and the place of each value in the file, so that later checks can point at it.

use crate::problem::Problem;
use miette::NamedSource;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// The number of problems that are reported at once; nobody reads more.
const PROBLEMS_MAX: usize = 20;

/// The problems found in one file so far.
pub(crate) struct Report {
    source: Arc<NamedSource<String>>,
    problems: RefCell<Vec<Problem>>,
    spans: RefCell<BTreeMap<String, Range<usize>>>,
    /// The file is `server.toml`, whose keys are not those of an application.
    is_of_server: bool,
}

impl Report {
    pub(crate) fn new(file: &str, text: &str) -> Self {
        Report {
            source: Arc::new(NamedSource::new(file, text.to_owned())),
            problems: RefCell::default(),
            spans: RefCell::default(),
            is_of_server: false,
        }
    }

    /// The same report, for `server.toml`.
    pub(crate) fn of_server(self) -> Self {
        Report { is_of_server: true, ..self }
    }

    pub(crate) fn is_of_server(&self) -> bool {
        self.is_of_server
    }

    /// Adds a problem with the text at `span`.
    pub(crate) fn at(&self, span: Range<usize>, message: impl Into<String>, label: &str, help: Option<String>) {
        self.add(Problem::within(Arc::clone(&self.source), message).label(span, label).help(help));
    }

    /// Adds a problem with the text at `span`, which is related to the text at `other`.
    pub(crate) fn at_both(
        &self,
        span: Range<usize>,
        message: &str,
        label: &str,
        other: Range<usize>,
        other_label: &str,
    ) {
        let problem = Problem::within(Arc::clone(&self.source), message).label(span, label).label(other, other_label);
        self.add(problem);
    }

    /// Adds a problem with the value at `path`, or with the table around it if the value is not in the file.
    pub(crate) fn at_path(&self, path: &str, message: impl Into<String>, label: &str) {
        match self.span(path) {
            Some(span) => self.at(span, message, label, None),
            // A missing key of the file itself has no place, and the first line of the file would only confuse.
            None => self.add(Problem::within(Arc::clone(&self.source), message)),
        }
    }

    /// Adds the problem that `path` is missing in `table`; an empty `table` is the file itself.
    pub(crate) fn missing(&self, table: &str, path: &str, help: &str) {
        let problem = Problem::within(Arc::clone(&self.source), format!("`{path}` is missing"));
        let problem = match self.span(table) {
            Some(span) => problem.label(span, "in this table"),
            None => problem,
        };
        self.add(problem.help(Some(help.to_owned())));
    }

    pub(crate) fn add(&self, problem: Problem) {
        let mut problems = self.problems.borrow_mut();
        // Several services may inherit a value, which is then read once for each of them.
        let is_known = problems.iter().any(|known| known.is_same(&problem));
        if problems.len() < PROBLEMS_MAX && !is_known {
            problems.push(problem);
        }
    }

    /// Records the place of the value of `path`.
    pub(crate) fn record_span(&self, path: String, span: Range<usize>) {
        self.spans.borrow_mut().insert(path, span);
    }

    /// The place of the value of `path`, or of the table around it.
    pub(crate) fn span(&self, path: &str) -> Option<Range<usize>> {
        let spans = self.spans.borrow();
        let mut path = path;
        loop {
            if let Some(span) = spans.get(path) {
                return Some(span.clone());
            }
            path = path.get(..path.rfind(['.', '['])?)?;
        }
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }
}
