//! Formats floating-point numbers in decimal, as Go's `strconv.FormatFloat` does.

/// All further decimals of any number are zeros: the smallest number has 1074. Rust's `format!` panics for more than
/// 65,535.
const DECIMALS_MAX: usize = 1100;

/// Formats a number. `form` is `e`, `f` or `g`; without a precision, the result has as few digits as identify the
/// number. Positive numbers get no sign.
pub fn float(value: f64, form: char, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let value = value.abs();
    if value.is_infinite() {
        return format!("{}Inf", if sign.is_empty() { "+" } else { sign });
    }
    let written = match (form, precision) {
        ('f', None) => format!("{value}"),
        ('f', Some(precision)) => {
            let exact = precision.min(DECIMALS_MAX);
            format!("{value:.exact$}{}", "0".repeat(precision - exact))
        }
        ('e', None) => scientific(&format!("{value:e}")),
        ('e', Some(precision)) => {
            let exact = precision.min(DECIMALS_MAX);
            let written = format!("{value:.exact$e}");
            let (mantissa, exponent) = written.split_once('e').unwrap_or((&written, "0"));
            scientific(&format!("{mantissa}{}e{exponent}", "0".repeat(precision - exact)))
        }
        _ => general(value, precision),
    };
    format!("{sign}{written}")
}

/// Converts Rust's `1.5e7` to Go's `1.5e+07`.
fn scientific(written: &str) -> String {
    let (mantissa, exponent) = written.split_once('e').unwrap_or((written, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// The shorter of both forms, without trailing zeros.
fn general(value: f64, precision: Option<usize>) -> String {
    let written = match precision {
        None => format!("{value:e}"),
        Some(precision) => format!("{value:.*e}", (precision.max(1) - 1).min(DECIMALS_MAX)),
    };
    let (mantissa, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let threshold = match precision {
        None => 6,
        Some(precision) => {
            let precision = i32::try_from(precision.max(1)).unwrap_or(i32::MAX);
            if precision > count && count > exponent { count } else { precision }
        }
    };
    if exponent < -4 || exponent >= threshold {
        return scientific(&format!("{mantissa}e{exponent}"));
    }
    if exponent < 0 {
        let zeros = "0".repeat(usize::try_from(-exponent - 1).unwrap_or(0));
        return format!("0.{zeros}{digits}");
    }
    let whole = usize::try_from(exponent + 1).unwrap_or(0);
    if digits.len() <= whole {
        return format!("{digits}{}", "0".repeat(whole - digits.len()));
    }
    format!("{}.{}", &digits[..whole], &digits[whole..])
}

/// Formats a number by `%b`: `6755399441055744p-52`.
pub fn binary(value: f64) -> String {
    if !value.is_finite() {
        return float(value, 'g', None);
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let bits = value.abs().to_bits();
    let (fraction, exponent) = (bits & ((1 << 52) - 1), i64::try_from(bits >> 52).unwrap_or(0));
    let (mantissa, exponent) = if exponent == 0 { (fraction, 1) } else { (fraction | 1 << 52, exponent) };
    format!("{sign}{mantissa}p{:+}", exponent - 1075)
}

/// Formats a number by `%x`: `0x1.8p+01`.
pub fn hexadecimal(value: f64) -> String {
    if !value.is_finite() {
        return float(value, 'g', None);
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let bits = value.abs().to_bits();
    let (mut fraction, mut exponent) = (bits & ((1 << 52) - 1), i64::try_from(bits >> 52).unwrap_or(0) - 1023);
    if bits == 0 {
        return format!("{sign}0x0p+00");
    }
    if exponent == -1023 {
        // A subnormal number: Go normalizes it.
        let shift = fraction.leading_zeros() - 11;
        fraction = (fraction << shift) & ((1 << 52) - 1);
        exponent = -1022 - i64::from(shift);
    }
    let digits = format!("{fraction:013x}");
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    let direction = if exponent < 0 { '-' } else { '+' };
    format!("{sign}0x1{point}{digits}p{direction}{:02}", exponent.abs())
}
