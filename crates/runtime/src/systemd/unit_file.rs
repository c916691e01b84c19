//! Unit files as values (systemd.syntax(7)), with every value escaped.

use std::fmt::{Display, Write};

/// A builder of a unit file.
#[derive(Debug, Clone, Default)]
pub struct UnitFile {
    text: String,
    bad: Option<BadValue>,
}

/// A value that cannot be written into a unit file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}= cannot be {value:?}: a unit file cannot contain control characters in this value")]
pub struct BadValue {
    key: String,
    value: String,
}

impl UnitFile {
    /// A file that begins with that comment.
    #[must_use]
    pub fn new(comment: &str) -> Self {
        let lines: Vec<String> = comment.lines().map(|line| format!("# {line}\n")).collect();
        UnitFile { text: lines.concat(), bad: None }
    }

    /// Begins a section.
    #[must_use]
    pub fn section(mut self, name: &str) -> Self {
        let _ = write!(self.text, "\n[{name}]\n");
        self
    }

    /// A comment above the next line: its reason.
    #[must_use]
    pub fn because(mut self, why: &str) -> Self {
        let _ = writeln!(self.text, "# {why}");
        self
    }

    /// A setting with exactly this value.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Display) -> Self {
        let value = value.to_string();
        // A backslash at the end would continue the line.
        if value.contains(char::is_control) || value.ends_with('\\') {
            let bad = BadValue { key: key.to_owned(), value: value.clone() };
            self.bad.get_or_insert(bad);
        }
        let _ = writeln!(self.text, "{key}={}", value.replace('%', "%%"));
        self
    }

    /// A setting, if there is a value.
    #[must_use]
    pub fn set_some(self, key: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.set(key, value),
            None => self,
        }
    }

    /// A percentage, if there is a value.
    #[must_use]
    pub fn percent(mut self, key: &str, value: Option<u64>) -> Self {
        if let Some(value) = value {
            let _ = writeln!(self.text, "{key}={value}%");
        }
        self
    }

    /// A command: a program and its arguments, without expansion of any of them.
    #[must_use]
    pub fn command<T: AsRef<str>>(self, key: &str, words: impl IntoIterator<Item = T>) -> Self {
        // `:` disables the expansion of `$`.
        self.prefixed(key, ":", words)
    }

    /// A command that runs with full privileges, without the unit's restrictions.
    #[must_use]
    pub fn privileged_command<T: AsRef<str>>(self, key: &str, words: impl IntoIterator<Item = T>) -> Self {
        self.prefixed(key, "+:", words)
    }

    fn prefixed<T: AsRef<str>>(mut self, key: &str, prefix: &str, words: impl IntoIterator<Item = T>) -> Self {
        let words: Vec<String> = words.into_iter().map(|word| quoted(word.as_ref())).collect();
        let _ = writeln!(self.text, "{key}={prefix}{}", words.join(" "));
        self
    }

    /// The text of the file.
    ///
    /// # Errors
    /// If a value cannot be escaped.
    pub fn text(self) -> Result<String, BadValue> {
        match self.bad {
            Some(bad) => Err(bad),
            None => Ok(self.text),
        }
    }
}

/// Quotes a word for systemd: in quotes, with C's escapes, and `%` doubled, which would start a specifier.
fn quoted(word: &str) -> String {
    let mut text = String::from('"');
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '%' => text.push_str("%%"),
            c if c.is_control() && c.is_ascii() => {
                let _ = write!(text, "\\x{:02x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// A file of variables (systemd.exec(5), `EnvironmentFile=`). Within double quotes all characters are literal, also
/// line breaks, except four that need a backslash.
pub(super) fn environment<'a>(variables: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let mut text = String::new();
    for (name, value) in variables {
        let _ = write!(text, "{name}=\"");
        for c in value.chars() {
            if matches!(c, '"' | '\\' | '`' | '$') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push_str("\"\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argument_is_quoted_as_one_word() {
        let file =
            UnitFile::default().command("ExecStart", ["/bin/echo", "a b", "50%", "\"$HOME\"", "\\", "a\nUser=root"]);
        let expected = "ExecStart=:\"/bin/echo\" \"a b\" \"50%%\" \"\\\"$HOME\\\"\" \"\\\\\" \"a\\x0aUser=root\"\n";
        assert_eq!(file.text().unwrap(), expected);
    }

    #[test]
    fn value_cannot_inject_a_setting() {
        let file = UnitFile::default().section("Service").set("WorkingDirectory", "/tmp\nUser=root");
        assert!(file.text().unwrap_err().to_string().contains("WorkingDirectory"));
        assert!(UnitFile::default().set("WorkingDirectory", "/tmp\\").text().is_err());
    }

    #[test]
    fn variable_may_contain_any_character() {
        let (name, value) = ("A".to_owned(), "a \"b\" $c `d`\ne\\".to_owned());
        assert_eq!(environment([(&name, &value)]), "A=\"a \\\"b\\\" \\$c \\`d\\`\ne\\\\\"\n");
    }
}
