//! Slash-separated paths and patterns, as Go's package `path` reads them.

/// The shortest equivalent path: without `//`, `.` and resolvable `..`.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(last) if *last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            other => parts.push(other),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".into(),
        (false, false) => joined,
    }
}

/// Joins the two paths and cleans the result.
pub fn join(one: &str, other: &str) -> String {
    match (one, other) {
        ("", "") => String::new(),
        ("", path) | (path, "") => clean(path),
        (one, other) => clean(&format!("{one}/{other}")),
    }
}

/// The last part of the path.
pub fn base(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    match path.trim_end_matches('/') {
        "" => "/",
        trimmed => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }
}

/// The path without its last part, cleaned.
pub fn dir(path: &str) -> String {
    clean(path.rfind('/').map_or("", |slash| &path[..=slash]))
}

/// Matches the whole of `text`: `*` and `?` stand for anything but slashes, `[a-c]` and `[^a]` for one character, and a
/// backslash makes the next character literal.
///
/// # Errors
/// If the pattern is malformed.
pub fn matches(pattern: &str, text: &str) -> Result<bool, BadPattern> {
    let pattern: Vec<Piece> = pieces(pattern)?;
    let text: Vec<char> = text.chars().collect();
    // Backtracks only to the last star, and continues one character further: earlier stars need no retry.
    let (mut at, mut piece) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        match pattern.get(piece) {
            Some(Piece::Star) => {
                star = Some((piece, at));
                piece += 1;
                continue;
            }
            Some(one) if text.get(at).is_some_and(|character| one.takes(*character)) => {
                at += 1;
                piece += 1;
                continue;
            }
            None if at == text.len() => return Ok(true),
            _ => {}
        }
        match star {
            Some((after, tried)) if text.get(tried).is_some_and(|character| *character != '/') => {
                star = Some((after, tried + 1));
                at = tried + 1;
                piece = after + 1;
            }
            _ => return Ok(false),
        }
    }
}

/// A malformed pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid pattern: a bracket or a backslash is unfinished")]
pub struct BadPattern(String);

enum Piece {
    Star,
    Any,
    One(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Piece {
    fn takes(&self, character: char) -> bool {
        match self {
            Piece::Star => false,
            Piece::Any => character != '/',
            Piece::One(one) => *one == character,
            Piece::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != *negated
            }
        }
    }
}

fn pieces(pattern: &str) -> Result<Vec<Piece>, BadPattern> {
    let bad = || BadPattern(pattern.into());
    let mut pieces = Vec::new();
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        pieces.push(match character {
            '*' => Piece::Star,
            '?' => Piece::Any,
            '\\' => Piece::One(characters.next().ok_or_else(bad)?),
            '[' => {
                let negated = characters.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    let low = match characters.next().ok_or_else(bad)? {
                        ']' if !ranges.is_empty() => break,
                        ']' | '-' => return Err(bad()),
                        '\\' => characters.next().ok_or_else(bad)?,
                        low => low,
                    };
                    let mut high = low;
                    if characters.next_if_eq(&'-').is_some() {
                        high = match characters.next().ok_or_else(bad)? {
                            ']' | '-' => return Err(bad()),
                            '\\' => characters.next().ok_or_else(bad)?,
                            high => high,
                        };
                    }
                    ranges.push((low, high));
                }
                Piece::Class { negated, ranges }
            }
            one => Piece::One(one),
        });
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_those_of_go() {
        for (path, cleaned) in
            [("", "."), ("/", "/"), ("//a//b/", "/a/b"), ("a/../b", "b"), ("/..", "/"), ("../a", "../a")]
        {
            assert_eq!(clean(path), cleaned, "{path}");
        }
        for (path, last) in [("", "."), ("/", "/"), ("/a/b", "b"), ("/a/b/", "b"), ("a", "a")] {
            assert_eq!(base(path), last, "{path}");
        }
        for (path, parent) in [("", "."), ("/", "/"), ("/a/b", "/a"), ("/a/b/", "/a/b"), ("a", "."), ("/a", "/")] {
            assert_eq!(dir(path), parent, "{path}");
        }
        assert_eq!(join("/prod", "/a"), "/prod/a");
        assert_eq!(join("", ""), "");
    }

    #[test]
    fn patterns_match_those_of_go() {
        for (pattern, text, expected) in [
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/b/c", false),
            ("/a/*/c", "/a/b/c", true),
            ("/a/?", "/a/b", true),
            ("/a/?", "/a//", false),
            ("/a/[a-c]x", "/a/bx", true),
            ("/a/[^a-c]x", "/a/bx", false),
            ("/a/\\*", "/a/*", true),
            ("*b*b", "abbb", true),
            ("*", "", true),
            ("", "", true),
            ("*x", "abc", false),
            ("/a/*", "/a/", true),
        ] {
            assert_eq!(matches(pattern, text), Ok(expected), "{pattern} {text}");
        }
        for pattern in ["[", "[]", "[a", "a\\", "[-a]", "[a-]"] {
            assert!(matches(pattern, "a").is_err(), "{pattern}");
        }
    }
}
