//! Unit files as values (systemd.syntax(7)): what is written is what was meant, whatever the values hold.

use std::fmt::{Display, Write};

/// A unit file that is being put together.
#[derive(Debug, Clone, Default)]
pub struct UnitFile {
    text: String,
    bad: Option<BadValue>,
}

/// A value that a unit file cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}= cannot be {value:?}: a unit file has no way to write control characters there")]
pub struct BadValue {
    key: String,
    value: String,
}

impl UnitFile {
    /// An empty one that begins with that comment.
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

    /// A comment above what comes next: why it is so.
    #[must_use]
    pub fn because(mut self, why: &str) -> Self {
        let _ = writeln!(self.text, "# {why}");
        self
    }

    /// A setting with that very value.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Display) -> Self {
        let value = value.to_string();
        // A backslash at the end would draw the next line to it.
        if value.contains(char::is_control) || value.ends_with('\\') {
            let bad = BadValue { key: key.to_owned(), value: value.clone() };
            self.bad.get_or_insert(bad);
        }
        let _ = writeln!(self.text, "{key}={}", value.replace('%', "%%"));
        self
    }

    /// A setting where there is a value.
    #[must_use]
    pub fn set_some(self, key: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.set(key, value),
            None => self,
        }
    }

    /// A share in per cent, where there is one.
    #[must_use]
    pub fn percent(mut self, key: &str, value: Option<u64>) -> Self {
        if let Some(value) = value {
            let _ = writeln!(self.text, "{key}={value}%");
        }
        self
    }

    /// A command: a program and its arguments, none of them looked into by anybody.
    #[must_use]
    pub fn command<T: AsRef<str>>(self, key: &str, words: impl IntoIterator<Item = T>) -> Self {
        // `:` keeps `$` from being replaced by variables.
        self.prefixed(key, ":", words)
    }

    /// A command that runs with all privileges, whatever the unit forbids.
    #[must_use]
    pub fn privileged_command<T: AsRef<str>>(self, key: &str, words: impl IntoIterator<Item = T>) -> Self {
        self.prefixed(key, "+:", words)
    }

    fn prefixed<T: AsRef<str>>(mut self, key: &str, prefix: &str, words: impl IntoIterator<Item = T>) -> Self {
        let words: Vec<String> = words.into_iter().map(|word| quoted(word.as_ref())).collect();
        let _ = writeln!(self.text, "{key}={prefix}{}", words.join(" "));
        self
    }

    /// The whole file.
    ///
    /// # Errors
    /// If a value cannot be written.
    pub fn text(self) -> Result<String, BadValue> {
        match self.bad {
            Some(bad) => Err(bad),
            None => Ok(self.text),
        }
    }
}

/// A word as systemd splits it: in quotes, with C's escapes, and `%` doubled, which would be a specifier.
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

/// A file of variables (systemd.exec(5), `EnvironmentFile=`): within double quotes everything stands for itself but for
/// four characters, line breaks included.
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
    fn an_argument_is_one_word_whatever_it_holds() {
        let file =
            UnitFile::default().command("ExecStart", ["/bin/echo", "a b", "50%", "\"$HOME\"", "\\", "a\nUser=root"]);
        let expected = "ExecStart=:\"/bin/echo\" \"a b\" \"50%%\" \"\\\"$HOME\\\"\" \"\\\\\" \"a\\x0aUser=root\"\n";
        assert_eq!(file.text().unwrap(), expected);
    }

    #[test]
    fn a_value_cannot_bring_a_setting_of_its_own() {
        let file = UnitFile::default().section("Service").set("WorkingDirectory", "/tmp\nUser=root");
        assert!(file.text().unwrap_err().to_string().contains("WorkingDirectory"));
        assert!(UnitFile::default().set("WorkingDirectory", "/tmp\\").text().is_err());
    }

    #[test]
    fn a_variable_may_hold_anything() {
        let (name, value) = ("A".to_owned(), "a \"b\" $c `d`\ne\\".to_owned());
        assert_eq!(environment([(&name, &value)]), "A=\"a \\\"b\\\" \\$c \\`d\\`\ne\\\\\"\n");
    }
}
