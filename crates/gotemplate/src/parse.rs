//! Parses tokens into blocks: `{{if}}`, `{{range}}`, `{{define}}` and the others.

use crate::ast::{Branch, Node};
use crate::error::{Fault, Problem};
use crate::functions::Functions;
use crate::lex::{Keyword, Kind, Token};
use std::collections::BTreeMap;

/// The maximum nesting depth of blocks and parentheses in the text.
pub const DEPTH: usize = 100;

/// Templates by name; the main template has the name of the file.
pub type Definitions = BTreeMap<String, Vec<Node>>;

pub struct Parser<'a> {
    tokens: Vec<Token>,
    next: usize,
    pub functions: &'a Functions,
    /// The variables that are visible.
    pub variables: Vec<String>,
    pub depth: usize,
    ranges: usize,
    definitions: Definitions,
}

/// The token that ended a list of nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    End,
    Else,
    Text,
}

/// Parses all templates of a text.
pub fn parse(name: &str, tokens: Vec<Token>, functions: &Functions) -> Result<Definitions, Fault> {
    let mut parser = Parser {
        tokens,
        next: 0,
        functions,
        variables: vec!["$".into()],
        depth: 0,
        ranges: 0,
        definitions: Definitions::new(),
    };
    let (nodes, ending, at) = parser.nodes(true)?;
    match ending {
        Ending::Text => {
            // As in Go, a file with only definitions does not replace a definition of its own name.
            parser.define(0, name.into(), nodes)?;
            Ok(parser.definitions)
        }
        Ending::End => Err(Fault::syntax(at, "{{end}} without a block")),
        Ending::Else => Err(Fault::syntax(at, "{{else}} without a block")),
    }
}

impl Parser<'_> {
    pub fn peek(&self) -> &Token {
        // The last token is the end, which is never consumed.
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    pub fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    pub fn skip_spaces(&mut self) {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
    }

    pub fn position(&self) -> usize {
        self.next
    }

    pub fn go_back_to(&mut self, position: usize) {
        self.next = position;
    }

    pub fn unexpected<T>(&self, token: &Token, place: &str) -> Result<T, Fault> {
        let what = match &token.kind {
            Kind::End => return Err(Fault::syntax(token.at, format!("the text ends in {place}"))),
            Kind::Close => "}}".to_owned(),
            Kind::Word(word) | Kind::Variable(word) => word.clone(),
            Kind::Field(name) => format!(".{name}"),
            Kind::Keyword(keyword) => format!("{{{{{}}}}}", format!("{keyword:?}").to_lowercase()),
            Kind::Quoted(text) => format!("{text:?}"),
            Kind::Int(value) => value.to_string(),
            Kind::Float(value) => value.to_string(),
            Kind::Pipe => "|".into(),
            Kind::Comma => ",".into(),
            Kind::Declare => ":=".into(),
            Kind::Assign => "=".into(),
            Kind::LeftParen => "(".into(),
            Kind::RightParen => ")".into(),
            other => format!("{other:?}").to_lowercase(),
        };
        Err(Fault::syntax(token.at, format!("unexpected {what} in {place}")))
    }

    /// Enters a nesting level, or fails at the limit.
    pub fn deeper(&mut self, at: usize) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > DEPTH { Err(Fault { at, problem: Problem::TooDeep(DEPTH) }) } else { Ok(()) }
    }

    /// Parses nodes up to the token that ends them, consumes it, and returns its position. After `else`, its condition
    /// comes next.
    fn nodes(&mut self, top: bool) -> Result<(Vec<Node>, Ending, usize), Fault> {
        let mut nodes = Vec::new();
        loop {
            let token = self.take();
            match token.kind {
                Kind::Text(text) => nodes.push(Node::Text(text)),
                Kind::End => return Ok((nodes, Ending::Text, token.at)),
                _ => {
                    self.skip_spaces();
                    let Kind::Keyword(keyword) = self.peek().kind else {
                        nodes.push(Node::Action(self.pipe("command", &Kind::Close)?));
                        continue;
                    };
                    self.take();
                    match keyword {
                        Keyword::End => {
                            self.close("end")?;
                            return Ok((nodes, Ending::End, token.at));
                        }
                        Keyword::Else => return Ok((nodes, Ending::Else, token.at)),
                        Keyword::Define if top => self.definition()?,
                        Keyword::Define => {
                            return Err(Fault::syntax(token.at, "{{define}} must be outside of all blocks"));
                        }
                        other => nodes.push(self.block(token.at, other)?),
                    }
                }
            }
        }
    }

    fn block(&mut self, at: usize, keyword: Keyword) -> Result<Node, Fault> {
        match keyword {
            Keyword::If => Ok(Node::If(self.branch(at, "if")?)),
            Keyword::With => Ok(Node::With(self.branch(at, "with")?)),
            Keyword::Range => Ok(Node::Range(self.branch(at, "range")?)),
            Keyword::Template => {
                let name = self.name("template")?;
                let pipe = if self.peek().kind == Kind::Close {
                    self.take();
                    None
                } else {
                    Some(self.pipe("template", &Kind::Close)?)
                };
                Ok(Node::Template { at, name, pipe })
            }
            Keyword::Block => {
                let name = self.name("block")?;
                let pipe = self.pipe("block", &Kind::Close)?;
                let body = self.body(at, "block")?;
                self.define(at, name.clone(), body)?;
                Ok(Node::Template { at, name, pipe: Some(pipe) })
            }
            Keyword::Break | Keyword::Continue => {
                let (word, node) =
                    if keyword == Keyword::Break { ("break", Node::Break) } else { ("continue", Node::Continue) };
                if self.ranges == 0 {
                    return Err(Fault::syntax(at, format!("{{{{{word}}}}} outside of {{{{range}}}}")));
                }
                self.close(word)?;
                Ok(node)
            }
            // The caller has consumed these keywords.
            Keyword::Define | Keyword::Else | Keyword::End => Err(Fault::syntax(at, "unexpected keyword")),
        }
    }

    /// Parses `{{if}}`, `{{with}}` or `{{range}}`, up to its `{{end}}`.
    fn branch(&mut self, at: usize, word: &'static str) -> Result<Branch, Fault> {
        self.deeper(at)?;
        let visible = self.variables.len();
        let pipe = self.pipe(word, &Kind::Close)?;
        // Break and continue are allowed in the body, not in the `else` part.
        self.ranges += usize::from(word == "range");
        let (then, ending, end) = self.nodes(false)?;
        self.ranges -= usize::from(word == "range");
        let otherwise = match ending {
            Ending::End => Vec::new(),
            Ending::Text => return Err(unclosed(at, word)),
            Ending::Else => self.otherwise(at, end, word)?,
        };
        self.variables.truncate(visible);
        self.depth -= 1;
        Ok(Branch { pipe, then, otherwise })
    }

    /// Parses the part after `{{else`: a block, or an `if` or `with` that shares the `{{end}}`.
    fn otherwise(&mut self, at: usize, end: usize, word: &'static str) -> Result<Vec<Node>, Fault> {
        self.skip_spaces();
        let token = self.take();
        match (token.kind, word) {
            (Kind::Keyword(Keyword::If), "if") => Ok(vec![Node::If(self.branch(end, "if")?)]),
            (Kind::Keyword(Keyword::With), "with") => Ok(vec![Node::With(self.branch(end, "with")?)]),
            (Kind::Close, _) => {
                let (nodes, ending, second) = self.nodes(false)?;
                match ending {
                    Ending::End => Ok(nodes),
                    Ending::Text => Err(unclosed(at, word)),
                    Ending::Else => Err(Fault::syntax(second, "a second {{else}} in the same block")),
                }
            }
            (kind, _) => self.unexpected(&Token { at: token.at, kind }, "else"),
        }
    }

    fn definition(&mut self) -> Result<(), Fault> {
        let at = self.peek().at;
        let name = self.name("define")?;
        self.close("define")?;
        let body = self.body(at, "define")?;
        self.define(at, name, body)
    }

    /// Parses the body of a separate template, which sees none of the surrounding variables.
    fn body(&mut self, at: usize, word: &'static str) -> Result<Vec<Node>, Fault> {
        self.deeper(at)?;
        let variables = std::mem::replace(&mut self.variables, vec!["$".into()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (nodes, ending, end) = self.nodes(false)?;
        self.variables = variables;
        self.ranges = ranges;
        self.depth -= 1;
        match ending {
            Ending::End => Ok(nodes),
            Ending::Text => Err(unclosed(at, word)),
            Ending::Else => Err(Fault::syntax(end, format!("{{{{else}}}} in {{{{{word}}}}}"))),
        }
    }

    /// Stores a template. Of two with the same name one must be empty, and the other is kept.
    fn define(&mut self, at: usize, name: String, nodes: Vec<Node>) -> Result<(), Fault> {
        let empty =
            |nodes: &[Node]| nodes.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()));
        match self.definitions.get(&name) {
            Some(known) if !empty(known) && !empty(&nodes) => {
                Err(Fault::syntax(at, format!("template {name:?} is defined twice")))
            }
            Some(known) if !empty(known) => Ok(()),
            _ => {
                self.definitions.insert(name, nodes);
                Ok(())
            }
        }
    }

    fn name(&mut self, word: &str) -> Result<String, Fault> {
        self.skip_spaces();
        let token = self.take();
        let Kind::Quoted(name) = token.kind else {
            return self.unexpected(&token, &format!("the name of a {word}, which must be in quotes"));
        };
        self.skip_spaces();
        Ok(name)
    }

    fn close(&mut self, word: &str) -> Result<(), Fault> {
        self.skip_spaces();
        let token = self.take();
        if token.kind == Kind::Close { Ok(()) } else { self.unexpected(&token, word) }
    }
}

fn unclosed(at: usize, word: &str) -> Fault {
    Fault::syntax(at, format!("{{{{{word}}}}} is never closed: {{{{end}}}} is missing"))
}
