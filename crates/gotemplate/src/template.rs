//! A template, from its text to what it prints.

use crate::error::TemplateError;
use crate::exec::Run;
use crate::parse::Definitions;
use crate::value::{Functions, Value};
use crate::{lex, parse};
use std::sync::Arc;

/// What executing a template may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How deep blocks, parentheses and templates that call each other may be nested.
    pub depth: usize,
    /// How many bytes it may print.
    pub output_bytes: usize,
    /// How many nodes and functions it may go through: what ends a loop that prints nothing.
    pub steps: u64,
}

impl Default for Limits {
    /// More than a configuration file needs: 200 deep, 64 MiB, ten million steps.
    fn default() -> Self {
        Limits { depth: 200, output_bytes: 64 << 20, steps: 10_000_000 }
    }
}

/// A template that was parsed.
#[derive(Debug, Clone)]
pub struct Template {
    name: String,
    text: Arc<str>,
    definitions: Arc<Definitions>,
}

impl Template {
    /// Parses `text`. The functions that it calls must be among `functions`, by name.
    ///
    /// # Errors
    /// With the first mistake and its place.
    pub fn parse(name: &str, text: &str, functions: &Functions) -> Result<Template, TemplateError> {
        let parsed = lex::tokens(text).and_then(|tokens| parse::parse(name, tokens, functions));
        let definitions = parsed.map_err(|fault| fault.in_text(name, text))?;
        Ok(Template { name: name.into(), text: text.into(), definitions: Arc::new(definitions) })
    }

    /// What the template prints.
    ///
    /// # Errors
    /// With the place at which a value is not as it must be, a function says no, or a limit is reached.
    pub fn execute(&self, data: &Value, functions: &Functions, limits: &Limits) -> Result<String, TemplateError> {
        let mut run = Run::new(&self.definitions, functions, *limits);
        let data = if matches!(data, Value::Nil) { Value::Missing } else { data.clone() };
        match run.template(0, &self.name, data) {
            Ok(()) => Ok(run.output),
            Err(fault) => Err(fault.in_text(&self.name, &self.text)),
        }
    }
}
