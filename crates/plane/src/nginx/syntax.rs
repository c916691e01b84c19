//! nginx's configuration as values: what is written out is quoted here and nowhere else, so nothing that comes from a
//! specification can end a directive or begin another.

use std::fmt::{self, Write};

/// A directive, with a block where it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    words: Vec<Word>,
    block: Option<Vec<Directive>>,
}

/// An argument of a directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// Text of ours, with nginx's variables where it has some.
    Ours(String),
    /// Text of somebody else's.
    Theirs(String),
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Word::Ours(text.to_owned())
    }
}

impl From<String> for Word {
    fn from(text: String) -> Self {
        Word::Ours(text)
    }
}

/// A directive without a block.
pub(super) fn line<const N: usize>(words: [Word; N]) -> Directive {
    Directive { words: words.into(), block: None }
}

/// A directive of a name and one argument of ours, which is most of them.
pub(super) fn set(name: &str, value: impl Into<Word>) -> Directive {
    line([name.into(), value.into()])
}

/// A directive with a block.
pub(super) fn block<const N: usize>(words: [Word; N], block: Vec<Directive>) -> Directive {
    Directive { words: words.into(), block: Some(block) }
}

/// A regular expression that matches just that text: nothing in it means anything to PCRE.
pub(super) fn literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() && !character.is_ascii_alphanumeric() {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// The directives as nginx reads them.
pub(super) fn render(directives: &[Directive]) -> String {
    let mut text = String::new();
    for directive in directives {
        // Writing to a String does not fail.
        let _ = directive.write(&mut text, 0);
    }
    text
}

impl Directive {
    fn write(&self, text: &mut String, depth: usize) -> fmt::Result {
        let indent = "    ".repeat(depth);
        text.push_str(&indent);
        for (at, word) in self.words.iter().enumerate() {
            if at > 0 {
                text.push(' ');
            }
            word.write(text);
        }
        match &self.block {
            None => text.push_str(";\n"),
            Some(inner) => {
                text.push_str(" {\n");
                for directive in inner {
                    directive.write(text, depth + 1)?;
                }
                writeln!(text, "{indent}}}")?;
            }
        }
        Ok(())
    }
}

impl Word {
    fn write(&self, text: &mut String) {
        let (Word::Ours(word) | Word::Theirs(word)) = self;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=$*@%+[]?".contains(c);
        if matches!(self, Word::Ours(_)) && !word.is_empty() && word.chars().all(is_plain) {
            text.push_str(word);
            return;
        }
        text.push_str(&quoted(word));
    }
}

/// A text in double quotes, within which nginx knows \" and \\ ; a line feed is only itself.
pub(super) fn quoted(word: &str) -> String {
    let mut text = String::with_capacity(word.len() + 2);
    text.push('"');
    for character in word.chars() {
        if matches!(character, '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_somebody_else_cannot_end_a_directive() {
        let hostile = "x\"; } server { listen 1; \\";
        let text = render(&[set("root", Word::Theirs(hostile.to_owned()))]);
        assert_eq!(text, "root \"x\\\"; } server { listen 1; \\\\\";\n");
    }

    #[test]
    fn a_literal_means_nothing_to_a_regular_expression() {
        assert_eq!(literal("a.b(c)|$1"), "a\\.b\\(c\\)\\|\\$1");
    }
}
