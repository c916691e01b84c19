//! What is wrong with a template, and where.

/// What is wrong with a template: in its text, or with the data that it was executed with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{template}:{line}:{column}: {}{problem}", within(action))]
pub struct TemplateError {
    /// The name of the template's file.
    pub template: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The text of the action, where it is known: `{{ … }}`.
    pub action: Option<String>,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The text is no template.
    #[error("{0}")]
    Syntax(String),
    /// No such function.
    #[error("function \"{0}\" is not defined")]
    UndefinedFunction(String),
    /// No such variable.
    #[error("variable \"{0}\" is not defined here")]
    UndefinedVariable(String),
    /// No such template.
    #[error("template \"{0}\" is not defined")]
    UndefinedTemplate(String),
    /// A value is not of the kind that is needed there.
    #[error("{0}")]
    Value(String),
    /// A function says no.
    #[error("{name}: {message}")]
    Function {
        /// Its name.
        name: String,
        /// What it says.
        message: String,
    },
    /// Blocks or templates are nested too deeply.
    #[error("nested deeper than {0}: does a template call itself without end?")]
    TooDeep(usize),
    /// It prints too much.
    #[error("prints more than {0} bytes")]
    TooLong(usize),
    /// It does too much.
    #[error("takes more than {0} steps")]
    TooManySteps(u64),
}

fn within(action: &Option<String>) -> String {
    action.as_ref().map_or_else(String::new, |action| format!("in {action}: "))
}

/// A problem at a place in the text, in bytes from its start.
#[derive(Debug)]
pub struct Fault {
    pub at: usize,
    pub problem: Problem,
}

impl Fault {
    pub fn syntax(at: usize, message: impl Into<String>) -> Self {
        Fault { at, problem: Problem::Syntax(message.into()) }
    }

    pub fn value(at: usize, message: impl Into<String>) -> Self {
        Fault { at, problem: Problem::Value(message.into()) }
    }

    /// The same, for people.
    pub fn in_text(self, template: &str, text: &str) -> TemplateError {
        let at = floor(text, self.at);
        let before = &text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        TemplateError { template: template.into(), line, column, action: action(text, at), problem: self.problem }
    }
}

/// How much of an action is shown.
const SHOWN: usize = 80;

/// The action that surrounds a place.
fn action(text: &str, at: usize) -> Option<String> {
    let start = text[..floor(text, at + 2)].rfind("{{")?;
    if text[start..at.max(start)].contains("}}") {
        return None;
    }
    let end = text[start..].find("}}").map_or(text.len(), |end| start + end + 2);
    let whole: Vec<&str> = text[start..end].split_whitespace().collect();
    let whole = whole.join(" ");
    Some(if whole.chars().count() > SHOWN {
        let beginning: String = whole.chars().take(SHOWN).collect();
        format!("{beginning}…")
    } else {
        whole
    })
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
