//! nginx's configuration as values. All text is quoted here and nowhere else, so no value of a specification can end a
//! directive or start another one.

use std::fmt::{self, Write};

/// A directive, with or without a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    words: Vec<Word>,
    block: Option<Vec<Directive>>,
}

/// An argument of a directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// Text of gapless, which may contain nginx's variables.
    Trusted(String),
    /// Text of a specification or a configuration: always quoted.
    Untrusted(String),
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Word::Trusted(text.to_owned())
    }
}

impl From<String> for Word {
    fn from(text: String) -> Self {
        Word::Trusted(text)
    }
}

/// A directive without a block.
pub(super) fn line<const N: usize>(words: [Word; N]) -> Directive {
    Directive { words: words.into(), block: None }
}

/// A directive with one argument.
pub(super) fn set(name: &str, value: impl Into<Word>) -> Directive {
    line([name.into(), value.into()])
}

/// A directive with a block.
pub(super) fn block<const N: usize>(words: [Word; N], block: Vec<Directive>) -> Directive {
    Directive { words: words.into(), block: Some(block) }
}

/// A regular expression that matches exactly `text`: every character that PCRE could interpret is escaped.
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

/// The directives in nginx's syntax.
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
        let (Word::Trusted(word) | Word::Untrusted(word)) = self;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=$*@%+[]?".contains(c);
        if matches!(self, Word::Trusted(_)) && !word.is_empty() && word.chars().all(is_plain) {
            text.push_str(word);
            return;
        }
        text.push_str(&quoted(word));
    }
}

/// Text in double quotes, in which nginx knows only the escapes \" and \\ ; a line feed is literal.
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
    fn untrusted_text_cannot_end_a_directive() {
        let hostile = "x\"; } server { listen 1; \\";
        let text = render(&[set("root", Word::Untrusted(hostile.to_owned()))]);
        assert_eq!(text, "root \"x\\\"; } server { listen 1; \\\\\";\n");
    }

    #[test]
    fn literal_escapes_regular_expression_syntax() {
        assert_eq!(literal("a.b(c)|$1"), "a\\.b\\(c\\)\\|\\$1");
    }
}
