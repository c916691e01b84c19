//! How values print: Go's `fmt.Sprint` and `fmt.Sprintln`.

use crate::value::Value;
use crate::verbs::{Directive, write_value};

/// The values one after the other, with a space between two neither of which is a string.
#[must_use]
pub fn print(values: &[Value]) -> String {
    let mut output = String::new();
    print_into(values, &mut output);
    output
}

/// The values with spaces between them, and an end of line.
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

/// As [`print()`], behind what is there.
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
