//! Escaping of text for HTML, JavaScript, URL queries and quotes.

use std::fmt::Write;

/// Go's `HTMLEscapeString`.
pub fn html(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\0' => output.push('\u{fffd}'),
            '"' => output.push_str("&#34;"),
            '\'' => output.push_str("&#39;"),
            '&' => output.push_str("&amp;"),
            '<' => output.push_str("&lt;"),
            '>' => output.push_str("&gt;"),
            other => output.push(other),
        }
    }
    output
}

/// Go's `JSEscapeString`.
pub fn javascript(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => output.push_str("\\\\"),
            '\'' => output.push_str("\\'"),
            '"' => output.push_str("\\\""),
            '<' | '>' | '&' | '=' => {
                let _ = write!(output, "\\u{:04X}", u32::from(character));
            }
            other if other < ' ' || !is_printable(other) => {
                let _ = write!(output, "\\u{:04X}", u32::from(other));
            }
            other => output.push(other),
        }
    }
    output
}

/// Go's `url.QueryEscape`.
pub fn query(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => output.push('+'),
            b'-' | b'_' | b'.' | b'~' => output.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => output.push(char::from(byte)),
            byte => {
                let _ = write!(output, "%{byte:02X}");
            }
        }
    }
    output
}

/// Go's `strconv.Quote`, or `QuoteToASCII`.
pub fn quote(text: &str, ascii: bool) -> String {
    let mut output = String::from("\"");
    text.chars().for_each(|character| escaped(character, '"', ascii, &mut output));
    output.push('"');
    output
}

/// Go's `strconv.QuoteRune`, or `QuoteRuneToASCII`.
pub fn quote_character(character: char, ascii: bool) -> String {
    let mut output = String::from("'");
    escaped(character, '\'', ascii, &mut output);
    output.push('\'');
    output
}

fn escaped(character: char, quote: char, ascii: bool, output: &mut String) {
    let code = u32::from(character);
    let short = match character {
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\u{c}' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\u{b}' => "\\v",
        '\\' => "\\\\",
        _ => "",
    };
    let _ = if !short.is_empty() {
        output.write_str(short)
    } else if character == quote {
        write!(output, "\\{quote}")
    } else if is_printable(character) && (!ascii || character.is_ascii()) {
        output.write_char(character)
    } else if character < ' ' || character == '\u{7f}' {
        write!(output, "\\x{code:02x}")
    } else if code < 0x1_0000 {
        write!(output, "\\u{code:04x}")
    } else {
        write!(output, "\\U{code:08x}")
    };
}

/// A character that Go prints: letters, marks, numbers, punctuation, symbols, and the ASCII space.
fn is_printable(character: char) -> bool {
    if character == ' ' {
        return true;
    }
    // Rust's escapes differ only for combining marks, which Go prints.
    let joins = character.is_alphanumeric();
    !character.is_control() && !character.is_whitespace() && (joins || character.escape_debug().count() == 1)
}
