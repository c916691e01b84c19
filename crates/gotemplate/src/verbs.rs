//! Go's `fmt.Sprintf`: verbs, flags, width and precision.

use crate::escape::{quote, quote_character};
use crate::number;
use crate::value::{Object, Value};
use std::fmt::Write;

/// The largest width or precision, as in Go.
const LARGEST: i64 = 1_000_000;

/// The longest printed value: a longer one is cut, and the caller's own limit then reports it.
const PRINTED: usize = (64 << 20) + 1;

/// A verb of a format with its flags, `%…`.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the format")]
pub struct Directive {
    verb: char,
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

impl Directive {
    /// The directive `%v`.
    pub fn plain() -> Self {
        Directive { verb: 'v', ..Directive::default() }
    }
}

/// Formats the values. A mismatch shows up in the text, as in Go: `%!d(string=hi)`.
#[must_use]
pub fn format(format: &str, values: &[Value]) -> String {
    let mut output = String::new();
    let mut next = 0;
    let mut reordered = false;
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        output.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        let mut directive = Directive::default();
        let (mut ok, mut text) = (true, rest);
        text = flags(text, &mut directive);
        text = index(text, &mut next, values.len(), &mut reordered, &mut ok);
        if let Some(after) = text.strip_prefix('*') {
            text = after;
            match starred(values, &mut next) {
                Some(width) => {
                    directive.minus |= width < 0;
                    directive.zero &= width >= 0;
                    directive.width = usize::try_from(width.abs()).ok();
                }
                None => output.push_str("%!(BADWIDTH)"),
            }
        } else {
            (directive.width, text) = digits(text);
        }
        if let Some(after) = text.strip_prefix('.') {
            text = index(after, &mut next, values.len(), &mut reordered, &mut ok);
            if let Some(after) = text.strip_prefix('*') {
                text = after;
                match starred(values, &mut next) {
                    Some(precision) => directive.precision = usize::try_from(precision).ok(),
                    None => output.push_str("%!(BADPREC)"),
                }
            } else {
                let precision;
                (precision, text) = digits(text);
                directive.precision = Some(precision.unwrap_or(0));
            }
        }
        text = index(text, &mut next, values.len(), &mut reordered, &mut ok);
        let Some(verb) = text.chars().next() else {
            output.push_str("%!(NOVERB)");
            rest = "";
            break;
        };
        rest = &text[verb.len_utf8()..];
        directive.verb = verb;
        if verb == '%' {
            output.push('%');
        } else if !ok {
            let _ = write!(output, "%!{verb}(BADINDEX)");
        } else if let Some(value) = values.get(next) {
            next += 1;
            write_value(value, &directive, &mut output);
        } else {
            let _ = write!(output, "%!{verb}(MISSING)");
        }
    }
    output.push_str(rest);
    if !reordered && next < values.len() {
        extra(&values[next..], &mut output);
    }
    output
}

/// Appends the unused values.
fn extra(values: &[Value], output: &mut String) {
    output.push_str("%!(EXTRA ");
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            output.push_str(", ");
        }
        if !matches!(value, Value::Nil) {
            let _ = write!(output, "{}=", value.type_name());
        }
        write_value(value, &Directive::plain(), output);
    }
    output.push(')');
}

fn flags<'a>(text: &'a str, directive: &mut Directive) -> &'a str {
    for (at, character) in text.char_indices() {
        match character {
            '#' => directive.sharp = true,
            '0' => directive.zero = !directive.minus,
            '+' => directive.plus = true,
            '-' => {
                directive.minus = true;
                directive.zero = false;
            }
            ' ' => directive.space = true,
            _ => return &text[at..],
        }
    }
    ""
}

/// Parses a number; `None` if it is missing or too large.
fn digits(text: &str) -> (Option<usize>, &str) {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..end].parse::<i64>().ok().filter(|number| *number <= LARGEST);
    (number.and_then(|number| usize::try_from(number).ok()), &text[end..])
}

/// Parses `[n]`, the index of the next value.
fn index<'a>(text: &'a str, next: &mut usize, count: usize, reordered: &mut bool, ok: &mut bool) -> &'a str {
    let Some(inside) = text.strip_prefix('[') else { return text };
    *reordered = true;
    let Some((number, after)) = inside.split_once(']') else {
        *ok = false;
        return inside;
    };
    match number.parse::<usize>() {
        Ok(number) if (1..=count).contains(&number) => *next = number - 1,
        _ => *ok = false,
    }
    after
}

/// The value of a `*`.
fn starred(values: &[Value], next: &mut usize) -> Option<i64> {
    let value = values.get(*next);
    *next += 1;
    match value {
        Some(Value::Int(number)) if number.abs() <= LARGEST => Some(*number),
        _ => None,
    }
}

/// Writes a value by a directive.
pub fn write_value(value: &Value, directive: &Directive, output: &mut String) {
    match (value, directive.verb) {
        (Value::Nil | Value::Missing, 'v' | 'T') => pad("<nil>", directive, output),
        (Value::Nil | Value::Missing, _) => bad(value, directive, output),
        (_, 'T') => pad(&value.type_name(), directive, output),
        _ => write_inner(value, directive, output),
    }
}

fn write_inner(value: &Value, directive: &Directive, output: &mut String) {
    if output.len() > PRINTED {
        return;
    }
    let syntax = directive.sharp && directive.verb == 'v';
    match value {
        Value::Nil | Value::Missing if syntax => output.push_str("interface {}(nil)"),
        Value::Nil | Value::Missing => output.push_str("<nil>"),
        Value::Bool(value) => match directive.verb {
            'v' | 't' => pad(if *value { "true" } else { "false" }, directive, output),
            _ => bad(&Value::Bool(*value), directive, output),
        },
        Value::Int(value) => integer(*value, directive, output),
        Value::Float(value) => float(*value, directive, output),
        Value::Text(text) => string(text, directive, output),
        Value::List(list) => {
            if syntax {
                let _ = write!(output, "[]{}", list.element.name());
            }
            let (open, between, close) = if syntax { ("{", ", ", "}") } else { ("[", " ", "]") };
            output.push_str(open);
            for (index, item) in list.items.iter().enumerate() {
                if index > 0 {
                    output.push_str(between);
                }
                write_inner(item, directive, output);
            }
            output.push_str(close);
        }
        Value::Map(map) => {
            let (open, between, close) = if syntax { ("{", ", ", "}") } else { ("[", " ", "]") };
            let name = if syntax { value.type_name() } else { "map".into() };
            output.push_str(&name);
            output.push_str(open);
            for (index, (key, item)) in map.entries.iter().enumerate() {
                if index > 0 {
                    output.push_str(between);
                }
                string(key, directive, output);
                output.push(':');
                write_inner(item, directive, output);
            }
            output.push_str(close);
        }
        Value::Object(object) => structure(object, directive, output),
    }
}

fn structure(object: &Object, directive: &Directive, output: &mut String) {
    let syntax = directive.sharp && directive.verb == 'v';
    if let Some(text) = object.text.as_ref().filter(|_| !syntax && "vsxXq".contains(directive.verb)) {
        return string(text, directive, output);
    }
    if syntax {
        output.push_str(object.name);
    }
    output.push('{');
    for (index, (name, value)) in object.fields.iter().enumerate() {
        if index > 0 {
            output.push_str(if syntax { ", " } else { " " });
        }
        if directive.verb == 'v' && (directive.plus || directive.sharp) {
            let _ = write!(output, "{name}:");
        }
        write_inner(value, directive, output);
    }
    output.push('}');
}

/// Writes the error for a verb that does not fit the value.
fn bad(value: &Value, directive: &Directive, output: &mut String) {
    let _ = write!(output, "%!{}(", directive.verb);
    if !matches!(value, Value::Nil) {
        let _ = write!(output, "{}=", value.type_name());
    }
    write_value(value, &Directive::plain(), output);
    output.push(')');
}

fn integer(value: i64, directive: &Directive, output: &mut String) {
    let (digits, prefix) = match directive.verb {
        'v' | 'd' => (value.unsigned_abs().to_string(), ""),
        'b' => (format!("{:b}", value.unsigned_abs()), if directive.sharp { "0b" } else { "" }),
        'o' => (format!("{:o}", value.unsigned_abs()), if directive.sharp { "0" } else { "" }),
        'O' => (format!("{:o}", value.unsigned_abs()), "0o"),
        'x' => (format!("{:x}", value.unsigned_abs()), if directive.sharp { "0x" } else { "" }),
        'X' => (format!("{:X}", value.unsigned_abs()), if directive.sharp { "0X" } else { "" }),
        'c' | 'q' | 'U' => {
            let character = u32::try_from(value).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
            let text = match directive.verb {
                'c' => character.to_string(),
                'q' => quote_character(character, directive.plus),
                _ if directive.sharp => format!("U+{value:04X} '{character}'"),
                _ => format!("U+{value:04X}"),
            };
            return pad(&text, &Directive { zero: false, ..directive.clone() }, output);
        }
        _ => return bad(&Value::Int(value), directive, output),
    };
    let sign = sign(value < 0, directive);
    if let Some(precision) = directive.precision {
        // A precision is the minimum number of digits; with a precision, the width is not filled with zeros.
        let digits = if precision == 0 && value == 0 { String::new() } else { filled(&digits, precision) };
        return pad(&format!("{sign}{prefix}{digits}"), &Directive { zero: false, ..directive.clone() }, output);
    }
    if directive.zero && !directive.minus {
        let width = directive.width.unwrap_or(0).saturating_sub(sign.len());
        let _ = write!(output, "{sign}{prefix}{}", filled(&digits, width));
        return;
    }
    pad(&format!("{sign}{prefix}{digits}"), directive, output);
}

fn sign(negative: bool, directive: &Directive) -> &'static str {
    match (negative, directive.plus && directive.verb != 'v', directive.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    }
}

fn float(value: f64, directive: &Directive, output: &mut String) {
    let text = match directive.verb {
        'v' | 'g' | 'G' => number::float(value, 'g', directive.precision),
        'e' | 'E' => number::float(value, 'e', Some(directive.precision.unwrap_or(6))),
        'f' | 'F' => number::float(value, 'f', Some(directive.precision.unwrap_or(6))),
        'x' | 'X' => number::hexadecimal(value),
        'b' => number::binary(value),
        _ => return bad(&Value::Float(value), directive, output),
    };
    let text = if matches!(directive.verb, 'E' | 'G' | 'X') { text.to_uppercase() } else { text };
    if !value.is_finite() {
        return pad(&text, &Directive { zero: false, ..directive.clone() }, output);
    }
    let (negative, digits) = text.strip_prefix('-').map_or((false, text.as_str()), |digits| (true, digits));
    let sign = sign(negative, directive);
    if directive.zero && !directive.minus {
        let width = directive.width.unwrap_or(0).saturating_sub(sign.len());
        let _ = write!(output, "{sign}{}", filled(digits, width));
        return;
    }
    pad(&format!("{sign}{digits}"), directive, output);
}

fn string(text: &str, directive: &Directive, output: &mut String) {
    let cut = |text: &str| -> String {
        directive.precision.map_or_else(|| text.into(), |precision| text.chars().take(precision).collect())
    };
    match directive.verb {
        'v' if directive.sharp => pad(&quote(text, false), directive, output),
        'v' | 's' => pad(&cut(text), directive, output),
        'q' => {
            let text = cut(text);
            let raw = directive.sharp && !text.contains(['`', '\u{feff}', '\u{7f}']);
            let raw = raw && text.chars().all(|character| character == '\t' || !character.is_control());
            pad(&if raw { format!("`{text}`") } else { quote(&text, directive.plus) }, directive, output);
        }
        'x' | 'X' => {
            let bytes = &text.as_bytes()[..directive.precision.unwrap_or(text.len()).min(text.len())];
            let mut digits = String::new();
            for (index, byte) in bytes.iter().enumerate() {
                if index > 0 && directive.space {
                    digits.push(' ');
                }
                if directive.sharp && (index == 0 || directive.space) {
                    digits.push_str(if directive.verb == 'x' { "0x" } else { "0X" });
                }
                let _ = if directive.verb == 'x' { write!(digits, "{byte:02x}") } else { write!(digits, "{byte:02X}") };
            }
            pad(&digits, directive, output);
        }
        _ => bad(&Value::from(text), directive, output),
    }
}

/// The digits with leading zeros, up to that width. `format!` would panic for a width of more than 65,535.
fn filled(digits: &str, width: usize) -> String {
    "0".repeat(width.saturating_sub(digits.len())) + digits
}

/// The text, padded to the width.
fn pad(text: &str, directive: &Directive, output: &mut String) {
    let missing = directive.width.unwrap_or(0).saturating_sub(text.chars().count());
    let fill = if directive.zero { "0" } else { " " };
    if directive.minus {
        output.push_str(text);
        output.push_str(&" ".repeat(missing));
    } else {
        output.push_str(&fill.repeat(missing));
        output.push_str(text);
    }
}
