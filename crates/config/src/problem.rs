//! Problems of a configuration: message, place and advice, for people by `miette` and for programs by field.

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// One problem of a configuration.
#[derive(Debug, Clone)]
pub struct Problem {
    message: String,
    help: Option<String>,
    /// `None` if the problem is not in a file but, for example, in an argument.
    source: Option<Arc<NamedSource<String>>>,
    labels: Vec<LabeledSpan>,
}

impl Problem {
    /// A problem outside of any file.
    pub(crate) fn nowhere(message: impl Into<String>) -> Self {
        Problem { message: message.into(), help: None, source: None, labels: Vec::new() }
    }

    pub(crate) fn within(source: Arc<NamedSource<String>>, message: impl Into<String>) -> Self {
        Problem { source: Some(source), ..Problem::nowhere(message) }
    }

    pub(crate) fn label(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        let text = text.into();
        self.labels.push(LabeledSpan::new_with_span((!text.is_empty()).then_some(text), span));
        self
    }

    pub(crate) fn help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    /// The message, without place and advice.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The file with the problem; `None` for a problem outside of any file.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.source.as_ref().map(|source| source.name())
    }

    /// Line and column, both from 1, the column in characters; `None` without a place in a file.
    #[must_use]
    pub fn position(&self) -> Option<(usize, usize)> {
        let source = self.source.as_ref()?;
        let offset = self.labels.first()?.offset();
        let before = source.inner().get(..offset)?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Some((before.matches('\n').count() + 1, before.get(line_start..)?.chars().count() + 1))
    }

    /// The advice, if the message alone does not say what to do.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Both problems have the same message at the same place.
    pub(crate) fn is_same(&self, other: &Problem) -> bool {
        self.message == other.message && self.position() == other.position()
    }

    fn offset(&self) -> usize {
        self.labels.first().map_or(0, LabeledSpan::offset)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_deref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty())
            .then(|| Box::new(self.labels.iter().cloned()) as Box<dyn Iterator<Item = LabeledSpan>>)
    }
}

/// All problems of a configuration that cannot be used.
#[derive(Debug, Clone)]
pub struct ConfigError {
    file: String,
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(crate) fn new(file: &str, mut problems: Vec<Problem>) -> Self {
        // In reading order: the file itself first, from top to bottom.
        problems.sort_by_key(|problem| (problem.file() != Some(file), problem.offset()));
        ConfigError { file: file.to_owned(), problems }
    }

    /// All problems, in reading order.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => write!(f, "{} cannot be used", self.file),
            count => write!(f, "{} cannot be used: {count} problems", self.file),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Diagnostic for ConfigError {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}
