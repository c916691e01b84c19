//! Parses and executes a template.

use crate::error::TemplateError;
use crate::exec::Run;
use crate::functions::Functions;
use crate::limits::Limits;
use crate::parse::Definitions;
use crate::value::Value;
use crate::{lex, parse};
use std::sync::Arc;

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    name: String,
    text: Arc<str>,
    definitions: Arc<Definitions>,
}

impl Template {
    /// Parses `text`. The functions that it calls must be in `functions`.
    ///
    /// # Errors
    /// The first error and its position.
    pub fn parse(name: &str, text: &str, functions: &Functions) -> Result<Template, TemplateError> {
        let parsed = lex::tokens(text).and_then(|tokens| parse::parse(name, tokens, functions));
        let definitions = parsed.map_err(|fault| fault.in_text(name, text))?;
        Ok(Template { name: name.into(), text: text.into(), definitions: Arc::new(definitions) })
    }

    /// Executes the template and returns its output.
    ///
    /// # Errors
    /// An error at the position where a value has the wrong type, a function fails, or a limit is reached.
    pub fn execute(&self, data: &Value, functions: &Functions, limits: &Limits) -> Result<String, TemplateError> {
        let mut run = Run::new(&self.definitions, functions, *limits);
        let data = if matches!(data, Value::Nil) { Value::Missing } else { data.clone() };
        match run.template(0, &self.name, data) {
            Ok(()) => Ok(run.output),
            Err(fault) => Err(fault.in_text(&self.name, &self.text)),
        }
    }
}
