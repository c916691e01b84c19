//! Splits the text into tokens. Spaces inside actions are tokens, since they must separate operands.

use crate::error::Fault;
use crate::literal;

/// A token and its position.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub at: usize,
    pub kind: Kind,
}

/// The kinds of tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Text(String),
    Open,
    Close,
    Space,
    /// A word that is not a keyword.
    Word(String),
    Keyword(Keyword),
    /// `.name`, without the dot
    Field(String),
    /// `$name`, with the dollar sign
    Variable(String),
    Quoted(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Nil,
    Dot,
    Pipe,
    Declare,
    Assign,
    Comma,
    LeftParen,
    RightParen,
    End,
}

/// The keywords of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Range,
    Template,
    With,
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// All tokens of a text; the last one is [`Kind::End`].
pub fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new() };
    let mut trim = false;
    loop {
        let found = lexer.rest().find(OPEN);
        let raw = &lexer.rest()[..found.unwrap_or(lexer.rest().len())];
        let next = lexer.rest()[raw.len()..].strip_prefix(OPEN);
        let trims_before = next.is_some_and(|rest| rest.starts_with('-') && rest[1..].starts_with(SPACES));
        let mut shown = raw;
        if trim {
            shown = shown.trim_start_matches(SPACES);
        }
        if trims_before {
            shown = shown.trim_end_matches(SPACES);
        }
        if !shown.is_empty() {
            lexer.push(lexer.at, Kind::Text(shown.into()));
        }
        lexer.at += raw.len();
        if found.is_none() {
            lexer.push(text.len(), Kind::End);
            return Ok(lexer.tokens);
        }
        trim = lexer.action(trims_before)?;
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn push(&mut self, at: usize, kind: Kind) {
        self.tokens.push(Token { at, kind });
    }

    /// Everything from `{{` to `}}`; returns `true` if the following text is trimmed.
    fn action(&mut self, trims_before: bool) -> Result<bool, Fault> {
        let start = self.at;
        self.at += OPEN.len() + if trims_before { 2 } else { 0 };
        let inside = if trims_before { self.rest().trim_start_matches(SPACES) } else { self.rest() };
        if let Some(comment) = inside.strip_prefix("/*") {
            let end = comment.find("*/").ok_or_else(|| Fault::syntax(start, "unclosed comment"))?;
            self.at = self.text.len() - comment.len() + end + 2;
            return self
                .close()
                .ok_or_else(|| Fault::syntax(start, "the comment ends before the action does: close with */}}"));
        }
        self.push(start, Kind::Open);
        let mut parens = 0usize;
        loop {
            let at = self.at;
            if let Some(trims) = self.close() {
                if parens > 0 {
                    return Err(Fault::syntax(at, "unclosed left parenthesis"));
                }
                self.push(at, Kind::Close);
                return Ok(trims);
            }
            let kind = self.token(start)?;
            match kind {
                Kind::LeftParen => parens += 1,
                Kind::RightParen => {
                    parens = parens
                        .checked_sub(1)
                        .ok_or_else(|| Fault::syntax(at, "right parenthesis without a left one"))?;
                }
                _ => {}
            }
            self.push(at, kind);
        }
    }

    /// Consumes `}}` if it comes next, and returns `true` if it trims.
    fn close(&mut self) -> Option<bool> {
        let rest = self.rest();
        if rest.starts_with(CLOSE) {
            self.at += CLOSE.len();
            return Some(false);
        }
        // A trimming end needs a space before its hyphen; of several spaces, the last.
        let after = rest.trim_start_matches(SPACES);
        if after.len() < rest.len() && after.strip_prefix('-').is_some_and(|rest| rest.starts_with(CLOSE)) {
            self.at = self.text.len() - after.len() + 1 + CLOSE.len();
            return Some(true);
        }
        None
    }

    /// The next token inside an action that began at `start`.
    fn token(&mut self, start: usize) -> Result<Kind, Fault> {
        let at = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Err(Fault::syntax(start, "unclosed action"));
        };
        let second = rest[first.len_utf8()..].chars().next();
        let (kind, length) = match first {
            ' ' | '\t' | '\r' | '\n' => (Kind::Space, rest.len() - rest.trim_start_matches(SPACES).len()),
            '=' => (Kind::Assign, 1),
            ':' if second == Some('=') => (Kind::Declare, 2),
            ':' => return Err(Fault::syntax(at, "expected :=")),
            '|' => (Kind::Pipe, 1),
            ',' => (Kind::Comma, 1),
            '(' => (Kind::LeftParen, 1),
            ')' => (Kind::RightParen, 1),
            '"' | '`' => {
                let (text, length) = literal::quoted(rest).map_err(|problem| Fault::syntax(at, problem))?;
                (Kind::Quoted(text), length)
            }
            '\'' => {
                let (value, length) = literal::character(rest).map_err(|problem| Fault::syntax(at, problem))?;
                (Kind::Int(value), length)
            }
            '.' if !second.is_some_and(|next| next.is_ascii_digit()) => {
                let name = word(&rest[1..]);
                self.terminated(at, 1 + name.len())?;
                let kind = if name.is_empty() { Kind::Dot } else { Kind::Field(name.into()) };
                (kind, 1 + name.len())
            }
            '$' => {
                let length = 1 + word(&rest[1..]).len();
                self.terminated(at, length)?;
                (Kind::Variable(rest[..length].into()), length)
            }
            '+' | '-' | '.' | '0'..='9' => {
                let (number, length) = literal::number(rest).map_err(|problem| Fault::syntax(at, problem))?;
                let kind = match number {
                    literal::Number::Int(value) => Kind::Int(value),
                    literal::Number::Float(value) => Kind::Float(value),
                };
                (kind, length)
            }
            _ if is_word(first) => {
                let name = word(rest);
                self.terminated(at, name.len())?;
                (reserved(name), name.len())
            }
            _ => return Err(Fault::syntax(at, format!("unexpected character {first:?}"))),
        };
        self.at += length;
        Ok(kind)
    }

    /// Checks that a word ends where another token can begin.
    fn terminated(&self, at: usize, length: usize) -> Result<(), Fault> {
        let rest = &self.text[at + length..];
        let ends = rest.is_empty()
            || rest.starts_with(|next| SPACES.contains(&next) || ".,|:)(".contains(next))
            || rest.starts_with(CLOSE);
        // `=` is allowed too, as in Go: `{{$x=1}}`.
        if ends || rest.starts_with('=') {
            return Ok(());
        }
        let next = rest.chars().next().unwrap_or_default();
        Err(Fault::syntax(at + length, format!("unexpected character {next:?} after {}", &self.text[at..at + length])))
    }
}

fn is_word(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

/// The word at the beginning of the text.
fn word(text: &str) -> &str {
    &text[..text.find(|character| !is_word(character)).unwrap_or(text.len())]
}

fn reserved(name: &str) -> Kind {
    let keyword = match name {
        "true" => return Kind::Bool(true),
        "false" => return Kind::Bool(false),
        "nil" => return Kind::Nil,
        "block" => Keyword::Block,
        "break" => Keyword::Break,
        "continue" => Keyword::Continue,
        "define" => Keyword::Define,
        "else" => Keyword::Else,
        "end" => Keyword::End,
        "if" => Keyword::If,
        "range" => Keyword::Range,
        "template" => Keyword::Template,
        "with" => Keyword::With,
        _ => return Kind::Word(name.into()),
    };
    Kind::Keyword(keyword)
}
