//! Templates: no text makes the parser or the evaluator panic, exceed the stack of a server's thread, or exceed the
//! output limit; errors have a position; and a template prints the same each time.
//!
//! The template ends at the first NUL; the rest is JSON data.

#![no_main]

use gapless_gotemplate::{Element, Function, Functions, Limits, Template, TemplateError, Value};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::thread;

const LIMITS: Limits = Limits { depth: 200, output_bytes: 20_000, steps: 5_000 };

/// The stack size of tokio's threads.
const STACK_BYTES: usize = 2 << 20;

static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| {
    let mut functions = Functions::default();
    functions.insert("texts", Function::variadic(0, |values| Ok(Value::list(Element::Text, values.to_vec()))));
    functions.insert(
        "map",
        Function::new(1, |values| Ok(Value::map(Element::Any, BTreeMap::from([("a".to_owned(), values[0].clone())])))),
    );
    functions
});

fuzz_target!(|input: &str| {
    let (text, data) = input.split_once('\0').unwrap_or((input, ""));
    let data = serde_json::from_str(data).map(value).unwrap_or_default();
    let is_deep = text.matches(['{', '(']).count() > 50;
    if is_deep {
        let run = || run(text, &data);
        let thread = thread::Builder::new().stack_size(STACK_BYTES);
        thread::scope(|scope| thread.spawn_scoped(scope, run).expect("a thread").join().expect("no panic"));
    } else {
        run(text, &data);
    }
});

fn run(text: &str, data: &Value) {
    let template = match Template::parse("t", text, &FUNCTIONS) {
        Ok(template) => template,
        Err(error) => return check(&error, text),
    };
    let printed = template.execute(data, &FUNCTIONS, &LIMITS);
    match &printed {
        Ok(printed) => assert!(printed.len() <= LIMITS.output_bytes),
        Err(error) => check(error, text),
    }
    assert_eq!(template.execute(data, &FUNCTIONS, &LIMITS), printed, "the output is the same each time");
}

/// Checks that an error has a position in the text and a message.
fn check(error: &TemplateError, text: &str) {
    let line = text.split('\n').nth(error.line - 1).unwrap_or_else(|| panic!("line {} of {text:?}", error.line));
    assert!((1..=line.chars().count() + 1).contains(&error.column), "column {} of {line:?}", error.column);
    assert!(!error.problem.to_string().is_empty());
}

fn value(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(value) => Value::Bool(value),
        serde_json::Value::Number(number) => {
            number.as_i64().map_or_else(|| Value::Float(number.as_f64().unwrap_or(f64::NAN)), Value::Int)
        }
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Array(items) => Value::list(Element::Any, items.into_iter().map(value).collect()),
        serde_json::Value::Object(entries) => {
            Value::map(Element::Any, entries.into_iter().map(|(key, item)| (key, value(item))).collect())
        }
    }
}
