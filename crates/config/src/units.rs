//! Durations (`30s`, `1m30s`, `500ms`), sizes (`512m`, `64 KiB`) and processors (`0.5`), in the notation of the files.

use gapless_core::Millis;

/// Parses a duration: numbers with units from days to milliseconds, such as `1m30s`, `1.5s` or `500ms`.
///
/// # Errors
/// The problem, as a sentence.
pub fn parse_duration(text: &str) -> Result<Millis, String> {
    const FORM: &str = "write it like `30s`, `1m30s` or `500ms`";
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("an empty text is not a duration; {FORM}"));
    }
    let mut rest = text;
    let mut total = 0_u64;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let (number, after) = split_number(rest);
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" if !number.is_empty() => return Err(format!("{text:?} has no unit; {FORM}")),
            _ => return Err(format!("{text:?} is not a duration; {FORM}")),
        };
        if unit_ms >= last_unit {
            return Err(format!("{text:?} has its units in the wrong order; {FORM}"));
        }
        last_unit = unit_ms;
        let part = scaled(number, unit_ms).ok_or_else(|| format!("{text:?} is not a duration; {FORM}"))?;
        total = total.checked_add(part).ok_or_else(|| format!("{text:?} is too long"))?;
        rest = after.trim_start();
    }
    Ok(Millis(total))
}

/// Parses a size into bytes. A `k`, `m`, `g` or `t`, also written `KB` or `KiB` and so on, is 1024 times the unit before,
/// as in Docker.
///
/// # Errors
/// The problem, as a sentence.
pub fn parse_size(text: &str) -> Result<u64, String> {
    const FORM: &str = "write it like `512m`, `1g` or `64 KiB`";
    let trimmed = text.trim();
    let (number, unit) = split_number(trimmed);
    let power = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return Err(format!("{text:?} is not a size; {FORM}")),
    };
    scaled(number, 1 << (10 * power)).ok_or_else(|| format!("{text:?} is not a size; {FORM}"))
}

/// Converts processors, such as 2 or 0.5, into thousandths of a processor.
pub(crate) fn cpu_millis(cpus: f64) -> Result<u64, String> {
    let millis = (cpus * 1000.0).round();
    if !(0.0..=1e9).contains(&millis) {
        return Err(format!("{cpus} is not a number of processors; write it like `2` or `0.5`"));
    }
    Ok(millis as u64)
}

/// The duration in the form that [`parse_duration`] reads, such as `1m30s`.
pub(crate) fn duration_text(duration: Millis) -> String {
    let mut rest = duration.0;
    let mut text = String::new();
    for (unit, unit_ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= unit_ms {
            text.push_str(&format!("{}{unit}", rest / unit_ms));
            rest %= unit_ms;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// The size in the form that [`parse_size`] reads, in the largest unit of which it is a whole multiple.
pub(crate) fn size_text(bytes: u64) -> String {
    let units = [("t", 40), ("g", 30), ("m", 20), ("k", 10)];
    match units.into_iter().find(|(_, bits)| bytes > 0 && bytes.is_multiple_of(1 << bits)) {
        Some((unit, bits)) => format!("{}{unit}", bytes >> bits),
        None => bytes.to_string(),
    }
}

fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()))
}

/// `number`, with or without decimals, times `unit`; `None` if it is not a number, or the result is not whole or too large.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || (number.contains('.') && decimals.is_empty()) || decimals.len() > 9 {
        return None;
    }
    let mut total = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    if !decimals.is_empty() {
        let scale = 10_u128.pow(u32::try_from(decimals.len()).ok()?);
        let part = u128::from(decimals.parse::<u64>().ok()?) * u128::from(unit);
        if !part.is_multiple_of(scale) {
            return None;
        }
        total = total.checked_add(u64::try_from(part / scale).ok()?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parse_duration_reads_all_units() {
        for (text, ms) in [
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("1m 30s", 90_000),
            ("500ms", 500),
            ("1.5s", 1_500),
            ("2h", 7_200_000),
            ("1d12h", 129_600_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Millis(ms)), "{text}");
        }
        for text in [
            "",
            " ",
            "30",
            "s",
            "30 seconds",
            "-5s",
            "30s1m",
            "1s1s",
            "1.s",
            ".5s",
            "1.5ms",
            "1e3s",
            "99999999999999999999s",
            "s30",
            "１s",
        ] {
            assert!(parse_duration(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn parse_size_reads_all_units() {
        for (text, bytes) in [
            ("512m", 512 << 20),
            ("1g", 1 << 30),
            ("64 KiB", 64 << 10),
            ("1.5GiB", 3 << 29),
            ("10MB", 10 << 20),
            ("7", 7),
            ("7b", 7),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "m", "-1m", "1x", "1 m b", "99999999999t", "0.1k"] {
            assert!(parse_size(text).is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn parsers_never_panic(text in "[0-9a-zA-Z. ]{0,30}|.{0,20}") {
            let _ = (parse_duration(&text), parse_size(&text));
        }

        #[test]
        fn text_of_value_parses_to_same_value(number in 0_u64..1 << 45) {
            prop_assert_eq!(parse_duration(&duration_text(Millis(number))), Ok(Millis(number)));
            prop_assert_eq!(parse_size(&size_text(number)), Ok(number));
            prop_assert_eq!(parse_size(&size_text(number << 20)), Ok(number << 20));
        }

        #[test]
        fn parse_duration_reads_whole_seconds(seconds in 0_u64..10_000_000) {
            prop_assert_eq!(parse_duration(&format!("{seconds}s")), Ok(Millis::from_secs(seconds)));
        }
    }
}
