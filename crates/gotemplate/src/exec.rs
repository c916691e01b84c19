//! Executes nodes: output, loops, and the dot.

use crate::ast::{Branch, Node};
use crate::error::{Fault, Problem};
use crate::functions::Functions;
use crate::limits::Limits;
use crate::parse::Definitions;
use crate::print::print_into;
use crate::value::Value;
use std::sync::Arc;

/// The maximum nesting depth of lists and maps, as in JSON parsers.
const VALUE_DEPTH: usize = 130;

/// Bytes of a function's result that count as one step: otherwise a short loop with large, unprinted results takes
/// hours.
const STEP_BYTES: usize = 100;

/// An execution of a template.
pub struct Run<'a> {
    definitions: &'a Definitions,
    pub functions: &'a Functions,
    limits: Limits,
    pub output: String,
    depth: usize,
    steps: u64,
    /// The visible variables, the innermost last; the first variable of a template is `$`.
    pub variables: Vec<(&'a str, Value)>,
}

/// The way in which a list of nodes ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl<'a> Run<'a> {
    pub fn new(definitions: &'a Definitions, functions: &'a Functions, limits: Limits) -> Self {
        Run { definitions, functions, limits, output: String::new(), depth: 0, steps: 0, variables: Vec::new() }
    }

    /// Executes the template of that name.
    pub fn template(&mut self, at: usize, name: &str, data: Value) -> Result<(), Fault> {
        let definitions = self.definitions;
        let nodes =
            definitions.get(name).ok_or_else(|| Fault { at, problem: Problem::UndefinedTemplate(name.into()) })?;
        let outer = std::mem::replace(&mut self.variables, vec![("$", data.clone())]);
        self.deeper(at)?;
        let done = self.nodes(nodes, &data);
        self.depth -= 1;
        self.variables = outer;
        done.map(|_| ())
    }

    /// Enters a nesting level, or fails at the limit.
    pub fn deeper(&mut self, at: usize) -> Result<(), Fault> {
        self.depth += 1;
        let limit = self.limits.depth;
        if self.depth > limit { Err(Fault { at, problem: Problem::TooDeep(limit) }) } else { Ok(()) }
    }

    pub fn shallower(&mut self) {
        self.depth -= 1;
    }

    /// Counts one step.
    pub fn step(&mut self, at: usize) -> Result<(), Fault> {
        self.steps += 1;
        let limit = self.limits.steps;
        if self.steps > limit { Err(Fault { at, problem: Problem::TooManySteps(limit) }) } else { Ok(()) }
    }

    /// Checks that a function's result does not exceed the output limit. A new value counts as steps by its size; a
    /// value that was merely passed on does not.
    pub fn bounded(&mut self, at: usize, value: Value) -> Result<Value, Fault> {
        if value.depth() > VALUE_DEPTH {
            return Err(Fault { at, problem: Problem::TooDeep(VALUE_DEPTH) });
        }
        let limit = self.limits.output_bytes;
        match &value {
            Value::Text(text) if text.len() > limit => {
                return Err(Fault { at, problem: Problem::TooLong(limit) });
            }
            Value::Text(text) if Arc::strong_count(text) == 1 => self.steps += (text.len() / STEP_BYTES) as u64,
            Value::List(list) if Arc::strong_count(list) == 1 => {
                self.steps += (size_of_val(list.items.as_slice()) / STEP_BYTES) as u64;
            }
            _ => {}
        }
        self.step(at)?;
        Ok(value)
    }

    fn printed(&self, at: usize) -> Result<(), Fault> {
        let limit = self.limits.output_bytes;
        if self.output.len() > limit { Err(Fault { at, problem: Problem::TooLong(limit) }) } else { Ok(()) }
    }

    fn nodes(&mut self, nodes: &'a [Node], dot: &Value) -> Result<Flow, Fault> {
        for node in nodes {
            match node {
                Node::Text(text) => {
                    self.output.push_str(text);
                    self.printed(0)?;
                }
                Node::Action(pipe) => {
                    self.step(pipe.at)?;
                    let value = self.pipe(pipe, dot)?;
                    if pipe.variables.is_empty() {
                        print_action(&value, &mut self.output);
                        self.printed(pipe.at)?;
                    }
                }
                Node::If(branch) | Node::With(branch) => {
                    let flow = self.branch(branch, dot, matches!(node, Node::With(_)))?;
                    if flow != Flow::On {
                        return Ok(flow);
                    }
                }
                Node::Range(branch) => {
                    let flow = self.range(branch, dot)?;
                    if flow != Flow::On {
                        return Ok(flow);
                    }
                }
                Node::Template { at, name, pipe } => {
                    self.step(*at)?;
                    let data = match pipe {
                        Some(pipe) => self.pipe(pipe, dot)?,
                        None => Value::Nil,
                    };
                    self.template(*at, name, data)?;
                }
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::On)
    }

    fn branch(&mut self, branch: &'a Branch, dot: &Value, moves_dot: bool) -> Result<Flow, Fault> {
        let at = branch.pipe.at;
        self.step(at)?;
        self.deeper(at)?;
        let visible = self.variables.len();
        let value = self.pipe(&branch.pipe, dot)?;
        let flow = if !value.is_true() {
            self.nodes(&branch.otherwise, dot)
        } else if moves_dot {
            self.nodes(&branch.then, &value)
        } else {
            self.nodes(&branch.then, dot)
        }?;
        self.variables.truncate(visible);
        self.depth -= 1;
        Ok(flow)
    }

    fn range(&mut self, branch: &'a Branch, dot: &Value) -> Result<Flow, Fault> {
        let at = branch.pipe.at;
        self.step(at)?;
        self.deeper(at)?;
        let visible = self.variables.len();
        let value = self.pipe_alone(&branch.pipe, dot)?;
        // The variables are visible in the `else` part too, with the whole value, as in Go.
        for name in branch.pipe.variables.iter().filter(|_| !branch.pipe.assigns) {
            self.variables.push((name, value.clone()));
        }
        let mut any = false;
        match &value {
            Value::Nil | Value::Missing => {}
            Value::List(list) => {
                for (index, item) in list.items.iter().enumerate() {
                    any = true;
                    let index = Value::Int(i64::try_from(index).unwrap_or(i64::MAX));
                    if self.turn(branch, index, item)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, item) in &map.entries {
                    any = true;
                    if self.turn(branch, Value::from(key.as_str()), item)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Int(count) => {
                for index in 0..*count {
                    any = true;
                    if self.turn(branch, Value::Int(index), &Value::Int(index))? == Flow::Break {
                        break;
                    }
                }
            }
            other => {
                return Err(Fault::value(at, format!("range cannot iterate over a {}", other.type_name())));
            }
        }
        let flow = if any { Flow::On } else { self.nodes(&branch.otherwise, dot)? };
        self.variables.truncate(visible);
        self.depth -= 1;
        Ok(flow)
    }

    /// One iteration of a range.
    fn turn(&mut self, branch: &'a Branch, index: Value, item: &Value) -> Result<Flow, Fault> {
        self.step(branch.pipe.at)?;
        let visible = self.variables.len();
        let names = &branch.pipe.variables;
        let values = match names.len() {
            0 => vec![],
            1 => vec![item.clone()],
            _ => vec![index, item.clone()],
        };
        for (name, value) in names.iter().zip(values) {
            if branch.pipe.assigns {
                self.assign(branch.pipe.at, name, value)?;
            } else {
                self.variables.push((name, value));
            }
        }
        let flow = self.nodes(&branch.then, item)?;
        self.variables.truncate(visible);
        Ok(flow)
    }
}

/// Prints an action's value; nil prints as `<no value>`.
fn print_action(value: &Value, output: &mut String) {
    match value {
        Value::Nil | Value::Missing => output.push_str("<no value>"),
        value => print_into(std::slice::from_ref(value), output),
    }
}
