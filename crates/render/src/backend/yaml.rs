//! Parses YAML as confd does: nested maps and lists become keys, scalars become text, by the rules of YAML 1.1 that
//! confd's library follows (`yes` is true, `0644` is 420).

use crate::path;
use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use std::collections::{BTreeMap, HashMap};

/// The maximum nesting depth of a document.
const DEPTH: usize = 100;

/// The maximum of nodes in a document, including expanded aliases: a small file can expand exponentially.
const NODES: usize = 1_000_000;

/// The values of a document, by key.
///
/// # Errors
/// If the text is not YAML or not a map, with line and column.
pub fn read(text: &str, values: &mut BTreeMap<String, String>) -> Result<(), String> {
    let mut reader = Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    if let Some(Node::Map(entries)) = reader.document()? {
        Node::Map(entries).flatten("/", values);
    }
    Ok(())
}

/// The values of a JSON document.
///
/// # Errors
/// If the text is not JSON or not an object, with line and column.
pub fn read_json(text: &str, values: &mut BTreeMap<String, String>) -> Result<(), String> {
    let object: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|error| format!("this is not a JSON object: {error}"))?;
    for (key, value) in object {
        from_json(value).flatten(&path::join("/", &key), values);
    }
    Ok(())
}

fn from_json(value: serde_json::Value) -> Node {
    match value {
        serde_json::Value::Null => Node::Null,
        serde_json::Value::Bool(value) => Node::Scalar(value.to_string()),
        serde_json::Value::Number(number) => Node::Scalar(match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.to_string(),
            (None, Some(float)) => float.to_string(),
            (None, None) => number.to_string(),
        }),
        serde_json::Value::String(text) => Node::Scalar(text),
        serde_json::Value::Array(items) => Node::List(items.into_iter().map(from_json).collect()),
        serde_json::Value::Object(entries) => {
            Node::Map(entries.into_iter().map(|(key, value)| (key, from_json(value))).collect())
        }
    }
}

#[derive(Clone)]
enum Node {
    Null,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    fn flatten(self, key: &str, values: &mut BTreeMap<String, String>) {
        match self {
            Node::Null => {}
            Node::Scalar(text) => {
                values.insert(key.to_owned(), text);
            }
            Node::List(items) => {
                for (index, item) in items.into_iter().enumerate() {
                    item.flatten(&path::join(key, &index.to_string()), values);
                }
            }
            Node::Map(entries) => {
                for (name, item) in entries {
                    item.flatten(&path::join(key, &name), values);
                }
            }
        }
    }

    fn count(&self) -> usize {
        1 + match self {
            Node::Null | Node::Scalar(_) => 0,
            Node::List(items) => items.iter().map(Node::count).sum(),
            Node::Map(entries) => entries.iter().map(|(_, item)| item.count()).sum(),
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), String> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(format!("this is not YAML: {error}")),
            None => Err("the text ends too early".into()),
        }
    }

    /// The first document; `None` if it is empty.
    fn document(&mut self) -> Result<Option<Node>, String> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
                Event::StreamEnd | Event::DocumentEnd => return Ok(None),
                event => {
                    return match self.node(event, span, 0)? {
                        Node::Null => Ok(None),
                        map @ Node::Map(_) => Ok(Some(map)),
                        _ => Err(format!("line {}: the document must be a map", span.start.line())),
                    };
                }
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, String> {
        let here = |problem: &str| format!("line {}, column {}: {problem}", span.start.line(), span.start.col() + 1);
        if depth > DEPTH {
            return Err(here("nested too deeply"));
        }
        self.nodes += 1;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.suffix == "str");
                let node = if is_text { Node::Scalar(text.into_owned()) } else { plain(&text) };
                (node, anchor)
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned().ok_or_else(|| here("an alias of an undefined anchor"))?;
                self.nodes += node.count();
                (node, 0)
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        break;
                    }
                    items.push(self.node(event, span, depth + 1)?);
                }
                (Node::List(items), anchor)
            }
            Event::MappingStart(anchor, _) => (self.map(depth)?, anchor),
            _ => return Err(here("unexpected token")),
        };
        if self.nodes > NODES {
            return Err(here("too large when its aliases are expanded"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn map(&mut self, depth: usize) -> Result<Node, String> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        let mut merged: Vec<Node> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let key = match event {
                Event::MappingEnd => break,
                // The text itself: 1 and true are names here.
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(format!("line {}: a key must be a scalar", span.start.line())),
            };
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            if key == "<<" { merged.push(node) } else { entries.push((key, node)) }
        }
        // Merged maps fill keys that the map itself lacks; the first merged map wins.
        for node in merged {
            let maps = if let Node::List(maps) = node { maps } else { vec![node] };
            for map in maps {
                let Node::Map(more) = map else { continue };
                for (key, node) in more {
                    if !entries.iter().any(|(known, _)| *known == key) {
                        entries.push((key, node));
                    }
                }
            }
        }
        Ok(Node::Map(entries))
    }
}

/// A plain scalar.
fn plain(text: &str) -> Node {
    let scalar = |text: &str| Node::Scalar(text.to_owned());
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Node::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return scalar("true"),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return scalar("false"),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return scalar("+Inf"),
        "-.inf" | "-.Inf" | "-.INF" => return scalar("-Inf"),
        ".nan" | ".NaN" | ".NAN" => return scalar("NaN"),
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) {
        return scalar(text);
    }
    let digits = text.replace('_', "");
    if let Some(whole) = integer(&digits) {
        return Node::Scalar(whole.to_string());
    }
    let is_float = digits.contains(|digit: char| digit.is_ascii_digit())
        && digits.chars().all(|character| character.is_ascii_digit() || "+-.eE".contains(character));
    match digits.parse::<f64>() {
        Ok(float) if is_float && float.is_finite() => Node::Scalar(float.to_string()),
        _ => scalar(text),
    }
}

fn integer(digits: &str) -> Option<i64> {
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, digits.strip_prefix('+').unwrap_or(digits)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let number = i64::from_str_radix(digits, radix).ok()?;
    Some(if negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        read(text, &mut values).unwrap();
        values
    }

    #[test]
    fn documents_become_keys() {
        let text = "nginx:\n  domain: example.com\n  workers: 2\n  on: yes\n  ratio: 0.50\n  mode: 0644\n  quoted: \"0644\"\n  \
                    nothing: ~\n  1: one\n  list:\n    - a\n    - b: c\n    - [x, 1e3]\nbase: &base {a: 1, b: 2}\nmore:\n  \
                    <<: *base\n  b: 3\ndate: 2001-01-01\ntext: |\n  two\n  lines\n---\nsecond: document\n";
        let expected = [
            ("/base/a", "1"),
            ("/base/b", "2"),
            ("/date", "2001-01-01"),
            ("/more/a", "1"),
            ("/more/b", "3"),
            ("/nginx/1", "one"),
            ("/nginx/domain", "example.com"),
            ("/nginx/list/0", "a"),
            ("/nginx/list/1/b", "c"),
            ("/nginx/list/2/0", "x"),
            ("/nginx/list/2/1", "1000"),
            ("/nginx/mode", "420"),
            ("/nginx/on", "true"),
            ("/nginx/quoted", "0644"),
            ("/nginx/ratio", "0.5"),
            ("/nginx/workers", "2"),
            ("/text", "two\nlines\n"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(values(text).into_iter().collect::<Vec<_>>(), expected);
        assert!(values("").is_empty());
    }

    #[test]
    fn invalid_documents_are_reported_with_their_position() {
        let wrong = |text: &str| read(text, &mut BTreeMap::new()).unwrap_err();
        assert_eq!(wrong("- a"), "line 1: the document must be a map");
        assert!(wrong("a: [").contains("line"), "{}", wrong("a: ["));
        assert_eq!(wrong("a: *b"), wrong("a: *b"));
        let bomb: String = (0..30).fold("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".into(), |text, level| {
            let next = level + 1;
            format!("{text}a{next}: &a{next} [*a{level},*a{level},*a{level},*a{level},*a{level},*a{level}]\n")
        });
        assert!(wrong(&bomb).contains("too large"), "{}", wrong(&bomb));
        let deep = wrong(&format!("a: {}{}", "[".repeat(120), "]".repeat(120)));
        assert!(deep.contains("nested too deeply"), "{deep}");
        let mut values = BTreeMap::new();
        read_json("{\"a\": {\"b\": [1, 2.5, true, null, \"x\"]}}", &mut values).unwrap();
        let found: Vec<String> = values.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(found, ["/a/b/0=1", "/a/b/1=2.5", "/a/b/2=true", "/a/b/4=x"]);
        assert!(read_json("[1]", &mut values).unwrap_err().starts_with("this is not a JSON object: "));
    }
}
