//! Parses Go's literals: numbers, characters, quoted and raw strings.

/// A number.
pub enum Number {
    Int(i64),
    Float(f64),
}

/// The string at the beginning of the text, and its length in bytes.
pub fn quoted(text: &str) -> Result<(String, usize), String> {
    if let Some(raw) = text.strip_prefix('`') {
        let end = raw.find('`').ok_or("unterminated raw string")?;
        // Go drops carriage returns from raw strings.
        return Ok((raw[..end].replace('\r', ""), end + 2));
    }
    let mut bytes = Vec::new();
    let mut at = 1;
    loop {
        let rest = &text[at..];
        match rest.chars().next() {
            None | Some('\n') => return Err("unterminated string".into()),
            Some('"') => break,
            Some('\\') => {
                let (escaped, length) = escape(rest, '"')?;
                match escaped {
                    Escaped::Byte(byte) => bytes.push(byte),
                    Escaped::Character(character) => {
                        bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                }
                at += length;
            }
            Some(character) => {
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                at += character.len_utf8();
            }
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| "a string that is not UTF-8")?;
    Ok((text, at + 1))
}

/// The character constant at the beginning of the text, as a number, and its length in bytes.
pub fn character(text: &str) -> Result<(i64, usize), String> {
    const BAD: &str = "malformed character constant";
    let rest = &text[1..];
    let (value, length) = match rest.chars().next() {
        None | Some('\'' | '\n') => return Err(BAD.into()),
        Some('\\') => {
            let (escaped, length) = escape(rest, '\'')?;
            match escaped {
                Escaped::Byte(byte) => (i64::from(byte), length),
                Escaped::Character(character) => (i64::from(u32::from(character)), length),
            }
        }
        Some(character) => (i64::from(u32::from(character)), character.len_utf8()),
    };
    if rest[length..].starts_with('\'') { Ok((value, length + 2)) } else { Err(BAD.into()) }
}

enum Escaped {
    Byte(u8),
    Character(char),
}

/// The meaning of an escape sequence, and its length in bytes.
fn escape(text: &str, quote: char) -> Result<(Escaped, usize), String> {
    let bad = || format!("unknown escape {:?}", text.chars().take(2).collect::<String>());
    let second = text[1..].chars().next().ok_or_else(bad)?;
    let digits = |from: usize, count: usize, radix: u32| -> Result<u32, String> {
        let digits = text.get(from..from + count).ok_or_else(bad)?;
        if !digits.chars().all(|digit| digit.is_digit(radix)) {
            return Err(bad());
        }
        u32::from_str_radix(digits, radix).map_err(|_| bad())
    };
    let simple = |character| Ok((Escaped::Character(character), 2));
    match second {
        'a' => simple('\u{7}'),
        'b' => simple('\u{8}'),
        'f' => simple('\u{c}'),
        'n' => simple('\n'),
        'r' => simple('\r'),
        't' => simple('\t'),
        'v' => simple('\u{b}'),
        '\\' => simple('\\'),
        _ if second == quote => simple(quote),
        'x' => Ok((Escaped::Byte(u8::try_from(digits(2, 2, 16)?).map_err(|_| bad())?), 4)),
        'u' => Ok((Escaped::Character(char::from_u32(digits(2, 4, 16)?).ok_or_else(bad)?), 6)),
        'U' => Ok((Escaped::Character(char::from_u32(digits(2, 8, 16)?).ok_or_else(bad)?), 10)),
        '0'..='7' => Ok((Escaped::Byte(u8::try_from(digits(1, 3, 8)?).map_err(|_| bad())?), 4)),
        _ => Err(bad()),
    }
}

/// The number at the beginning of the text, and its length in bytes.
pub fn number(text: &str) -> Result<(Number, usize), String> {
    let bytes = text.as_bytes();
    let mut end = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let hexadecimal = text[end..].starts_with("0x") || text[end..].starts_with("0X");
    while let Some(&byte) = bytes.get(end) {
        let exponent = if hexadecimal { byte | 32 == b'p' } else { byte | 32 == b'e' };
        if exponent && matches!(bytes.get(end + 1), Some(b'+' | b'-')) {
            end += 2;
        } else if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.' {
            end += 1;
        } else {
            break;
        }
    }
    let written = &text[..end];
    let bad = || format!("bad number {written:?}");
    if text[end..].starts_with(|next: char| next.is_alphanumeric()) {
        return Err(bad());
    }
    let (negative, digits) = match written.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, written.strip_prefix('+').unwrap_or(written)),
    };
    if digits.ends_with('i') {
        return Err(format!("{written}: complex numbers are not supported"));
    }
    let lower = digits.to_ascii_lowercase();
    if lower.starts_with('_') || lower.ends_with('_') || lower.contains("__") {
        return Err(bad());
    }
    let (radix, plain) = if let Some(digits) = lower.strip_prefix("0x") {
        if digits.contains(['p', '.']) {
            let value = hexadecimal_float(digits).ok_or_else(bad)?;
            return Ok((Number::Float(if negative { -value } else { value }), end));
        }
        (16, digits)
    } else if let Some(digits) = lower.strip_prefix("0b") {
        (2, digits)
    } else if let Some(digits) = lower.strip_prefix("0o") {
        (8, digits)
    } else if lower.contains(['.', 'e']) {
        let value: f64 = written.replace('_', "").parse().map_err(|_| bad())?;
        return if value.is_finite() { Ok((Number::Float(value), end)) } else { Err(bad()) };
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    let magnitude = u64::from_str_radix(&plain.replace('_', ""), radix).map_err(|_| bad())?;
    let value = if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() };
    value.map(|value| (Number::Int(value), end)).ok_or_else(|| format!("{written} overflows int"))
}

/// Parses the part of a hexadecimal float after `0x`, such as `1.8p3`.
fn hexadecimal_float(digits: &str) -> Option<f64> {
    let (mantissa, exponent) = digits.split_once('p')?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}").replace('_', "");
    let value = u64::from_str_radix(&all, 16).ok()?;
    let exponent: i32 = exponent.parse().ok()?;
    let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?.checked_mul(4)?)?;
    #[allow(clippy::cast_precision_loss, reason = "Go rounds literals of more than 53 bits too")]
    let value = value as f64 * 2f64.powi(exponent);
    value.is_finite().then_some(value)
}
