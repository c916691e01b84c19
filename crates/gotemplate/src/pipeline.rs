//! Parses tokens into pipelines: variables, commands and operands.

use crate::ast::{Command, Expr, ExprKind, Pipe};
use crate::error::{Fault, Problem};
use crate::lex::{Kind, Token};
use crate::parse::Parser;

impl Parser<'_> {
    /// Parses a pipeline up to `end`, which is consumed: the end of an action or a right parenthesis.
    pub fn pipe(&mut self, place: &'static str, end: &Kind) -> Result<Pipe, Fault> {
        self.skip_spaces();
        let at = self.peek().at;
        let (variables, assigns) = self.declaration(place)?;
        let mut commands = Vec::new();
        loop {
            self.skip_spaces();
            let token = self.peek().clone();
            if token.kind == *end {
                self.take();
                break;
            }
            if matches!(token.kind, Kind::Close | Kind::RightParen | Kind::End) {
                return self.unexpected(&token, place);
            }
            let (command, piped) = self.command(place)?;
            commands.push(command);
            self.skip_spaces();
            if piped && self.peek().kind == *end {
                return Err(Fault::syntax(self.peek().at, "a command is missing after |"));
            }
        }
        if commands.is_empty() {
            return Err(Fault::syntax(at, format!("a value is missing for {place}")));
        }
        for (stage, command) in commands.iter().enumerate().skip(1) {
            if let Some(word) = command.words.first().filter(|word| !word.kind.is_callable()) {
                let stage = stage + 1;
                return Err(Fault::syntax(word.at, format!("stage {stage} of the pipeline cannot take a value")));
            }
        }
        // Visible only after the pipeline, so that a declaration may use an outer variable of the same name.
        if !assigns {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipe { at, variables, assigns, commands })
    }

    /// Parses `$x :=`, `$x =` or, in a range, `$i, $x :=`; returns no variables if the pipeline begins otherwise.
    fn declaration(&mut self, place: &str) -> Result<(Vec<String>, bool), Fault> {
        let start = self.position();
        let mut variables = Vec::new();
        loop {
            let token = self.peek().clone();
            let Kind::Variable(name) = token.kind else { break };
            self.take();
            self.skip_spaces();
            let next = self.take();
            variables.push((token.at, name));
            match next.kind {
                Kind::Declare | Kind::Assign => {
                    let assigns = next.kind == Kind::Assign;
                    for (at, name) in &variables {
                        if assigns && !self.variables.contains(name) {
                            return Err(Fault { at: *at, problem: Problem::UndefinedVariable(name.clone()) });
                        }
                    }
                    return Ok((variables.into_iter().map(|(_, name)| name).collect(), assigns));
                }
                Kind::Comma if place == "range" && variables.len() < 2 => self.skip_spaces(),
                Kind::Comma => return Err(Fault::syntax(next.at, format!("too many variables in {place}"))),
                _ => break,
            }
        }
        if variables.len() > 1 {
            let token = self.peek().clone();
            return self.unexpected(&token, place);
        }
        self.go_back_to(start);
        Ok((Vec::new(), false))
    }

    /// Parses operands, separated by spaces, up to an end or a pipe; consumes the pipe and returns `true` for it.
    fn command(&mut self, place: &str) -> Result<(Command, bool), Fault> {
        let mut words = Vec::new();
        loop {
            self.skip_spaces();
            if matches!(self.peek().kind, Kind::Pipe | Kind::Close | Kind::RightParen) {
                break;
            }
            words.push(self.operand(place)?);
            let token = self.peek().clone();
            match token.kind {
                Kind::Space => {}
                Kind::Pipe | Kind::Close | Kind::RightParen => break,
                _ => return self.unexpected(&token, "operand"),
            }
        }
        let token = self.peek().clone();
        if words.is_empty() {
            return Err(Fault::syntax(token.at, "a command is missing"));
        }
        let piped = token.kind == Kind::Pipe;
        if piped {
            self.take();
        }
        Ok((Command { words }, piped))
    }

    /// Parses an operand with its fields.
    fn operand(&mut self, place: &str) -> Result<Expr, Fault> {
        let token = self.take();
        let at = token.at;
        let kind = match token.kind {
            Kind::Word(name) => {
                if !self.functions.by_name.contains_key(name.as_str()) {
                    return Err(Fault { at, problem: Problem::UndefinedFunction(name) });
                }
                ExprKind::Function(name)
            }
            Kind::Dot => ExprKind::Dot,
            Kind::Nil => ExprKind::Nil,
            Kind::Bool(value) => ExprKind::Bool(value),
            Kind::Int(value) => ExprKind::Int(value),
            Kind::Float(value) => ExprKind::Float(value),
            Kind::Quoted(text) => ExprKind::Text(text),
            Kind::Field(name) => ExprKind::Fields(vec![name]),
            Kind::Variable(name) => {
                if !self.variables.contains(&name) {
                    return Err(Fault { at, problem: Problem::UndefinedVariable(name) });
                }
                ExprKind::Variable(name, Vec::new())
            }
            Kind::LeftParen => {
                self.deeper(at)?;
                let pipe = self.pipe("parentheses", &Kind::RightParen)?;
                self.depth -= 1;
                ExprKind::Pipe(Box::new(pipe))
            }
            kind => return self.unexpected(&Token { at, kind }, place),
        };
        let mut names = Vec::new();
        while let Kind::Field(name) = &self.peek().kind {
            names.push(name.clone());
            self.take();
        }
        let kind = match (kind, names.is_empty()) {
            (kind, true) => kind,
            (ExprKind::Fields(mut fields), false) => {
                fields.extend(names);
                ExprKind::Fields(fields)
            }
            (ExprKind::Variable(name, mut fields), false) => {
                fields.extend(names);
                ExprKind::Variable(name, fields)
            }
            (
                ExprKind::Nil
                | ExprKind::Bool(_)
                | ExprKind::Int(_)
                | ExprKind::Float(_)
                | ExprKind::Text(_)
                | ExprKind::Dot,
                false,
            ) => {
                return Err(Fault::syntax(at, format!("unexpected .{} after a constant", names[0])));
            }
            (kind, false) => ExprKind::Chain(Box::new(Expr { at, kind }), names),
        };
        Ok(Expr { at, kind })
    }
}
