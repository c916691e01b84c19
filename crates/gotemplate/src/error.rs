//! Errors in templates, with their position.

/// An error in a template's text, or in its execution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{template}:{line}:{column}: {}{problem}", within(action))]
pub struct TemplateError {
    /// The name of the template's file.
    pub template: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The text of the action, `{{ … }}`, if it is known.
    pub action: Option<String>,
    /// The error.
    pub problem: Problem,
}

/// The kinds of errors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A syntax error.
    #[error("{0}")]
    Syntax(String),
    /// A call of an undefined function.
    #[error("function \"{0}\" is not defined")]
    UndefinedFunction(String),
    /// A use of an undefined variable.
    #[error("variable \"{0}\" is not defined here")]
    UndefinedVariable(String),
    /// A use of an undefined template.
    #[error("template \"{0}\" is not defined")]
    UndefinedTemplate(String),
    /// A value of the wrong type.
    #[error("{0}")]
    Value(String),
    /// An error of a function.
    #[error("{name}: {message}")]
    Function {
        /// The function's name.
        name: String,
        /// The function's error.
        message: String,
    },
    /// Blocks or templates are nested too deeply.
    #[error("nested deeper than {0}; check for a template that calls itself without end")]
    TooDeep(usize),
    /// The output is too long.
    #[error("prints more than {0} bytes")]
    TooLong(usize),
    /// The execution takes too many steps.
    #[error("takes more than {0} steps")]
    TooManySteps(u64),
}

fn within(action: &Option<String>) -> String {
    action.as_ref().map_or_else(String::new, |action| format!("in {action}: "))
}

/// An error at a byte offset of the text.
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

    /// Converts the offset to line and column, and adds the action.
    pub fn in_text(self, template: &str, text: &str) -> TemplateError {
        let at = floor(text, self.at);
        let before = &text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        TemplateError { template: template.into(), line, column, action: action(text, at), problem: self.problem }
    }
}

/// How many characters of an action are shown.
const SHOWN: usize = 80;

/// The action at a byte offset.
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
