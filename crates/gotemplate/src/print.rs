//! Prints values as Go's `fmt.Sprint` and `fmt.Sprintln`.

use crate::value::Value;
use crate::verbs::{Directive, write_value};

/// The values, with a space between two that are both not strings.
#[must_use]
pub fn print(values: &[Value]) -> String {
    let mut output = String::new();
    print_into(values, &mut output);
    output
}

/// The values, separated by spaces, and a newline.
#[must_use]
pub fn print_line(values: &[Value]) -> String {
    let mut output = String::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            output.push(' ');
        }
        write_value(value, &Directive::plain(), &mut output);
    }
    output.push('\n');
    output
}

/// Appends the same text as [`print()`] to `output`.
pub fn print_into(values: &[Value], output: &mut String) {
    let mut after_text = true;
    for value in values {
        let text = matches!(value, Value::Text(_));
        if !after_text && !text {
            output.push(' ');
        }
        after_text = text;
        write_value(value, &Directive::plain(), output);
    }
}
