//! For each template of the corpus, this crate prints what Go prints, or rejects it at the same stage as Go: in parsing
//! or in execution. `corpus/generate.go` makes the expectations.

#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

use gapless_gotemplate::{Element, Function, Functions, Limits, Object, Template, Value};
use std::sync::Arc;

const CASES: &str = include_str!("corpus/cases.txt");
const EXPECTED: &str = include_str!("corpus/expected.txt");

/// Intended differences from Go, with the reasons.
const DIFFERENT: &[(&str, &str)] = &[
    ("literal 24", "complex numbers are rejected: no configuration file needs them"),
    ("literal 26", "an overflowing number is found in parsing"),
    ("variable 3", "an assignment before the declaration is found in parsing"),
    ("variable 14", "the same"),
    ("pipeline 5", "Go 1.19 accepts a pipe without a command after it, later versions reject it"),
];

fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => Value::Float(number.as_f64().unwrap()),
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => Value::list(Element::Any, items.iter().map(value).collect()),
        serde_json::Value::Object(entries) => {
            Value::map(Element::Any, entries.iter().map(|(key, item)| (key.clone(), value(item))).collect())
        }
    }
}

fn text(value: &Value) -> Result<String, String> {
    value.as_text().map(str::to_owned).ok_or_else(|| format!("a {}", value.type_name()))
}

fn functions() -> Functions {
    let mut functions = Functions::default();
    functions.insert("texts", Function::variadic(0, |values| Ok(Value::list(Element::Text, values.to_vec()))));
    functions.insert("ints", Function::variadic(0, |values| Ok(Value::list(Element::Int, values.to_vec()))));
    functions.insert("fail", Function::new(1, |values| Err(text(&values[0])?)));
    functions.insert(
        "pair",
        Function::new(2, |values| {
            let (key, value) = (text(&values[0])?, text(&values[1])?);
            let fields = vec![("Key", values[0].clone()), ("Value", values[1].clone())];
            let join = Function::new(1, move |with| Ok(format!("{key}{}{value}", text(&with[0])?).into()));
            let methods = vec![("Join", join)];
            Ok(Value::Object(Arc::new(Object { name: "main.Pair", fields, methods, text: None })))
        }),
    );
    functions
}

#[test]
fn prints_what_go_prints() {
    let functions = functions();
    let cases = CASES.split("=== ").skip(1);
    let expected = EXPECTED.split("=== ").skip(1);
    let (mut seen, mut wrong) = (0, Vec::new());
    for (case, expected) in cases.zip(expected) {
        let (name, mut template) = case.split_once('\n').unwrap();
        let mut data = Value::Nil;
        if let Some(rest) = template.strip_prefix("data: ") {
            let (json, rest) = rest.split_once('\n').unwrap();
            data = value(&serde_json::from_str(json).unwrap());
            template = rest;
        }
        let template = template.strip_suffix('\n').unwrap();
        let mut lines = expected.lines();
        assert_eq!(lines.next(), Some(name), "expected.txt is older than cases.txt");
        let verdict = lines.next().unwrap();
        let printed: String = serde_json::from_str(lines.next().unwrap()).unwrap();
        let (our_verdict, ours) = match Template::parse("case", template, &functions) {
            Err(error) => ("rejected", error.to_string()),
            Ok(parsed) => match parsed.execute(&data, &functions, &Limits::default()) {
                Err(error) => ("failed", error.to_string()),
                Ok(printed) => ("ok", printed),
            },
        };
        seen += 1;
        let same = our_verdict == verdict && (verdict != "ok" || ours == printed);
        if same == DIFFERENT.iter().any(|(different, _)| *different == name) {
            wrong.push(format!("{name}: {template}\n    Go:  {verdict} {printed:?}\n    we:  {our_verdict} {ours:?}"));
        }
    }
    assert_eq!(seen, EXPECTED.split("=== ").count() - 1);
    assert!(wrong.is_empty(), "{} of {seen} differ:\n{}", wrong.len(), wrong.join("\n"));
}
