//! Evaluates pipelines, commands and operands.

use crate::ast::{Command, Expr, ExprKind, Pipe};
use crate::error::{Fault, Problem};
use crate::exec::Run;
use crate::value::{Function, Value};

impl<'a> Run<'a> {
    /// The value of a pipeline; also sets its variable.
    pub fn pipe(&mut self, pipe: &'a Pipe, dot: &Value) -> Result<Value, Fault> {
        let value = self.pipe_alone(pipe, dot)?;
        for name in &pipe.variables {
            if pipe.assigns {
                self.assign(pipe.at, name, value.clone())?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        Ok(value)
    }

    /// The value of a pipeline; does not set its variables.
    pub fn pipe_alone(&mut self, pipe: &'a Pipe, dot: &Value) -> Result<Value, Fault> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        Ok(value.unwrap_or_default())
    }

    /// Assigns to the innermost variable of that name.
    pub fn assign(&mut self, at: usize, name: &str, value: Value) -> Result<(), Fault> {
        let variable = self.variables.iter_mut().rev().find(|(known, _)| *known == name);
        let (_, old) = variable.ok_or_else(|| undefined(at, name))?;
        *old = value;
        Ok(())
    }

    fn command(&mut self, command: &'a Command, dot: &Value, piped: Option<Value>) -> Result<Value, Fault> {
        let Some((word, arguments)) = command.words.split_first() else {
            return Ok(Value::Nil);
        };
        self.step(word.at)?;
        match &word.kind {
            ExprKind::Function(name) => self.function(word.at, name, arguments, dot, piped),
            ExprKind::Fields(names) => self.fields(word.at, dot.clone(), names, arguments, dot, piped),
            ExprKind::Variable(name, names) => {
                let value = self.variable(word.at, name)?;
                self.fields(word.at, value, names, arguments, dot, piped)
            }
            ExprKind::Chain(inner, names) => {
                let value = self.operand(inner, dot)?;
                self.fields(word.at, value, names, arguments, dot, piped)
            }
            ExprKind::Nil => Err(Fault::value(word.at, "nil is not a command")),
            _ if !arguments.is_empty() || piped.is_some() => {
                Err(Fault::value(word.at, "an argument for a value that is not a function"))
            }
            _ => self.operand(word, dot),
        }
    }

    /// The value of a lone operand.
    fn operand(&mut self, expr: &'a Expr, dot: &Value) -> Result<Value, Fault> {
        match &expr.kind {
            ExprKind::Dot => Ok(dot.clone()),
            ExprKind::Nil => Ok(Value::Nil),
            ExprKind::Bool(value) => Ok(Value::Bool(*value)),
            ExprKind::Int(value) => Ok(Value::Int(*value)),
            ExprKind::Float(value) => Ok(Value::Float(*value)),
            ExprKind::Text(text) => Ok(Value::from(text.as_str())),
            ExprKind::Fields(names) => self.fields(expr.at, dot.clone(), names, &[], dot, None),
            ExprKind::Variable(name, names) => {
                let value = self.variable(expr.at, name)?;
                self.fields(expr.at, value, names, &[], dot, None)
            }
            ExprKind::Function(name) => self.function(expr.at, name, &[], dot, None),
            ExprKind::Chain(inner, names) => {
                let value = self.operand(inner, dot)?;
                self.fields(expr.at, value, names, &[], dot, None)
            }
            ExprKind::Pipe(pipe) => {
                self.deeper(expr.at)?;
                let value = self.pipe(pipe, dot)?;
                self.shallower();
                Ok(value)
            }
        }
    }

    fn variable(&self, at: usize, name: &str) -> Result<Value, Fault> {
        let variable = self.variables.iter().rev().find(|(known, _)| *known == name);
        variable.map(|(_, value)| value.clone()).ok_or_else(|| undefined(at, name))
    }

    /// Calls a function. `and` and `or` evaluate their arguments one by one, and only as far as necessary.
    fn function(
        &mut self,
        at: usize,
        name: &str,
        arguments: &'a [Expr],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Fault> {
        if name == "and" || name == "or" {
            let mut last = None;
            for argument in arguments {
                let value = self.operand(argument, dot)?;
                if value.is_true() == (name == "or") {
                    return Ok(value);
                }
                last = Some(value);
            }
            let message = "needs at least one argument".into();
            let none = Fault { at, problem: Problem::Function { name: name.into(), message } };
            return piped.or(last).ok_or(none);
        }
        let functions = self.functions;
        let function = functions
            .by_name
            .get(name)
            .ok_or_else(|| Fault { at, problem: Problem::UndefinedFunction(name.into()) })?;
        self.call(at, name, function, arguments, dot, piped)
    }

    fn call(
        &mut self,
        at: usize,
        name: &str,
        function: &Function,
        arguments: &'a [Expr],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Fault> {
        let mut values = Vec::with_capacity(arguments.len() + usize::from(piped.is_some()));
        for argument in arguments {
            values.push(self.operand(argument, dot)?);
        }
        values.extend(piped);
        for value in values.iter_mut().filter(|value| matches!(value, Value::Missing)) {
            *value = Value::Nil;
        }
        let given = values.len();
        let problem = |message| Fault { at, problem: Problem::Function { name: name.into(), message } };
        if given < function.min || function.max.is_some_and(|max| given > max) {
            let atleast = if function.max == Some(function.min) { "" } else { "at least " };
            return Err(problem(format!("wrong number of arguments: wants {atleast}{}, got {given}", function.min)));
        }
        let value = (function.call)(&values).map_err(problem)?;
        self.bounded(at, value)
    }

    /// Follows a chain of fields; the last one may be a method with arguments.
    fn fields(
        &mut self,
        at: usize,
        value: Value,
        names: &'a [String],
        arguments: &'a [Expr],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Fault> {
        let has_arguments = !arguments.is_empty() || piped.is_some();
        let Some((last, names)) = names.split_last() else {
            if has_arguments {
                return Err(Fault::value(at, "an argument for a value that is not a function"));
            }
            return Ok(value);
        };
        let mut value = value;
        for name in names {
            value = self.field(at, &value, name, &[], dot, None)?;
        }
        self.field(at, &value, last, arguments, dot, piped)
    }

    fn field(
        &mut self,
        at: usize,
        value: &Value,
        name: &str,
        arguments: &'a [Expr],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Fault> {
        if let Value::Object(object) = value
            && let Some((_, method)) = object.methods.iter().find(|(known, _)| *known == name)
        {
            return self.call(at, name, method, arguments, dot, piped);
        }
        if !arguments.is_empty() || piped.is_some() {
            return Err(Fault::value(at, format!("{name} has arguments but is not a method")));
        }
        match value {
            Value::Map(map) => Ok(map.entries.get(name).cloned().unwrap_or(Value::Missing)),
            Value::Object(object) => {
                let field = object.fields.iter().find(|(known, _)| *known == name);
                field
                    .map(|(_, value)| value.clone())
                    .ok_or_else(|| Fault::value(at, format!("a {} has no field {name}", object.name)))
            }
            Value::Missing => Ok(Value::Missing),
            Value::Nil => Err(Fault::value(at, format!("nil has no field {name}"))),
            other => Err(Fault::value(at, format!("a {} has no field {name}", other.type_name()))),
        }
    }
}

fn undefined(at: usize, name: &str) -> Fault {
    Fault { at, problem: Problem::UndefinedVariable(name.into()) }
}
