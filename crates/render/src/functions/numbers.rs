//! Functions for integers: `add`, `sub`, `mul`, `div`, `mod`, `seq`, `atoi`, and `parseBool`.

use super::arguments::{int, text};
use gapless_gotemplate::{Element, Function, Functions, Value};

/// The longest sequence; a longer one is probably a mistake in the template.
const LONGEST: i64 = 1_000_000;

pub fn add(functions: &mut Functions) {
    let on_two = |name, call: fn(i64, i64) -> Result<i64, String>| {
        (name, Function::new(2, move |values| Ok(Value::Int(call(int(&values[0])?, int(&values[1])?)?))))
    };
    let all = [
        on_two("add", |one, other| Ok(one.wrapping_add(other))),
        on_two("sub", |one, other| Ok(one.wrapping_sub(other))),
        on_two("mul", |one, other| Ok(one.wrapping_mul(other))),
        on_two("div", |one, other| divided(other).map(|other| one.wrapping_div(other))),
        on_two("mod", |one, other| divided(other).map(|other| one.wrapping_rem(other))),
    ];
    for (name, function) in all {
        functions.insert(name, function);
    }
    functions.insert("seq", Function::new(2, seq));
    functions.insert("atoi", Function::new(1, atoi));
    functions.insert("parseBool", Function::new(1, parse_bool));
}

fn divided(by: i64) -> Result<i64, String> {
    if by == 0 { Err("division by zero".into()) } else { Ok(by) }
}

fn seq(values: &[Value]) -> Result<Value, String> {
    let (first, last) = (int(&values[0])?, int(&values[1])?);
    if last.saturating_sub(first) >= LONGEST {
        return Err(format!("more than {LONGEST} numbers"));
    }
    Ok(Value::list(Element::Int, (first..=last).map(Value::Int).collect()))
}

fn atoi(values: &[Value]) -> Result<Value, String> {
    let written = text(&values[0])?;
    written.parse().map(Value::Int).map_err(|_| format!("{written:?} is not an integer"))
}

fn parse_bool(values: &[Value]) -> Result<Value, String> {
    match text(&values[0])? {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
        other => Err(format!("{other:?} is neither true nor false")),
    }
}
