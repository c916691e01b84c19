//! Files of environment variables, `NAME=value` on each line, in the format of `docker run --env-file` and many
//! frameworks.
//!
//! Such files hold secrets, and errors end up in the logs of CI: every value is masked in the excerpt that an error shows.

use crate::problem::Problem;
use gapless_core::validate::is_variable_name;
use miette::NamedSource;
use std::ops::Range;
use std::sync::Arc;

/// The number of wrong lines that are reported.
const PROBLEMS_MAX: usize = 5;

/// Parses the variables of the file, in the order of the file.
///
/// A line is empty, a comment that begins with `#`, or `NAME=value`, optionally after `export`. A value in
/// single quotes is literal; in double quotes it may have the escapes `\n`, `\t`, `\"`, `\\` and `\$`; without quotes it
/// ends before ` #`, and white space around it is dropped. Nothing is expanded.
pub(crate) fn parse(text: &str, file: &str) -> Result<Vec<(String, String)>, Vec<Problem>> {
    let mut variables = Vec::new();
    let mut wrong: Vec<(Range<usize>, String)> = Vec::new();
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        let start = offset + (line.len() - line.trim_start().len());
        offset += line.len();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        match variable(trimmed) {
            Ok(variable) => variables.push(variable),
            Err(why) => wrong.push((start..start + trimmed.len(), why)),
        }
    }
    if wrong.is_empty() {
        return Ok(variables);
    }
    let source = Arc::new(NamedSource::new(file, masked(text)));
    let problems = wrong.into_iter().take(PROBLEMS_MAX);
    Err(problems.map(|(span, why)| Problem::within(Arc::clone(&source), why).label(span, "this line")).collect())
}

fn variable(line: &str) -> Result<(String, String), String> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').ok_or("this is not of the form NAME=value")?;
    let name = name.trim();
    if !is_variable_name(name) {
        return Err("this is not a variable name: letters, digits and `_`, not beginning with a digit".to_owned());
    }
    let value = value.trim();
    let value = match value.chars().next() {
        Some('\'') => single_quoted(value)?,
        Some('"') => double_quoted(value)?,
        _ => value.find(" #").map_or(value, |comment| &value[..comment]).trim_end().to_owned(),
    };
    if value.contains('\0') {
        return Err("this value has a NUL character".to_owned());
    }
    Ok((name.to_owned(), value))
}

fn single_quoted(value: &str) -> Result<String, String> {
    let (inside, after) = value[1..].split_once('\'').ok_or("the quote of this value is not closed on its line")?;
    nothing_but_a_comment(after)?;
    Ok(inside.to_owned())
}

fn double_quoted(value: &str) -> Result<String, String> {
    let mut inside = String::new();
    let mut chars = value[1..].chars();
    loop {
        match chars.next() {
            Some('"') => break,
            Some('\\') => match chars.next() {
                Some('n') => inside.push('\n'),
                Some('t') => inside.push('\t'),
                Some(c @ ('"' | '\\' | '$')) => inside.push(c),
                _ => return Err("this value has a backslash before something other than n, t, \", \\ and $".to_owned()),
            },
            Some(c) => inside.push(c),
            None => return Err("the quote of this value is not closed on its line".to_owned()),
        }
    }
    nothing_but_a_comment(chars.as_str())?;
    Ok(inside)
}

fn nothing_but_a_comment(after: &str) -> Result<(), String> {
    let after = after.trim_start();
    if after.is_empty() || after.starts_with('#') {
        Ok(())
    } else {
        Err("there is text behind the closing quote".to_owned())
    }
}

/// The text with `*` in place of everything except names. Its length in bytes is the same, so that spans stay valid.
fn masked(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let content = line.trim_end_matches(['\n', '\r']);
        // A line without `=`, or with nothing behind it, could be a part of a base64 key that spans several lines.
        let name_end = content
            .find('=')
            .filter(|end| is_name_like(&content[..*end]) && !content[*end..].trim_matches('=').is_empty())
            .map_or(0, |end| end + 1);
        shown.push_str(&content[..name_end]);
        shown.extend(std::iter::repeat_n('*', content.len() - name_end));
        shown.push_str(&line[content.len()..]);
    }
    shown
}

/// The text could be a name, perhaps a misspelt one.
fn is_name_like(text: &str) -> bool {
    text.len() <= 40 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b" _.-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parse_reads_every_form_of_line() {
        let text = "# a comment\n\nA=1\n export B = two words # and a comment\nC='as $it \\n stands' # x\r\n\
                    D=\"a \\\"b\\\" \\$c\\n\"\nE=\nF=a#b\nA=again\nG=x=y";
        let read = parse(text, ".env").unwrap();
        let read: Vec<(&str, &str)> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "as $it \\n stands"),
            ("D", "a \"b\" $c\n"),
            ("E", ""),
            ("F", "a#b"),
            ("A", "again"),
            ("G", "x=y"),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn errors_show_no_values() {
        let text = "TOKEN=secret\nPASSWORD=\"secret\nc2VjcmV0\nexport KEY='secret' secret\nsecret+/x=\n";
        let problems = parse(text, ".env").unwrap_err();
        assert_eq!(problems.len(), 4);
        for problem in &problems {
            let shown = format!("{:?}", miette::Report::new(problem.clone()));
            assert!(!shown.contains("secret") && !shown.contains("c2Vj"), "{shown}");
        }
        let first = format!("{:?}", miette::Report::new(problems[0].clone()));
        assert!(first.contains("PASSWORD=*"), "{first}");
        assert_eq!(problems[0].position(), Some((2, 1)));
    }

    proptest! {
        #[test]
        fn parse_never_panics(text in "(\\PC|[\n\r='\"\\\\# ]){0,60}") {
            if let Err(problems) = parse(&text, ".env") {
                for problem in problems {
                    let _ = (problem.position(), format!("{:?}", miette::Report::new(problem)));
                }
            }
        }
    }
}
