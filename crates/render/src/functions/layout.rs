//! Go's time layouts: examples of how the reference time, Mon Jan 2 15:04:05 MST 2006, would be written.

use jiff::ZonedDateTime;
use std::fmt::Write;

/// The elements of layouts; of two with the same beginning, the longer one comes first.
const PIECES: &[&str] = &[
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "2006",
    "-07:00:00",
    "-070000",
    "-07:00",
    "-0700",
    "-07",
    "Z07:00:00",
    "Z070000",
    "Z07:00",
    "Z0700",
    "Z07",
    "002",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "__2",
    "_2006",
    "_2",
    "PM",
    "pm",
    "1",
    "2",
    "3",
    "4",
    "5",
];

/// Formats the time by the layout.
pub fn format(time: &ZonedDateTime, layout: &str) -> String {
    let mut output = String::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        if let Some(digits) = fraction(rest) {
            write_fraction(time, &rest[..digits], &mut output);
            rest = &rest[digits..];
            continue;
        }
        match PIECES.iter().find(|piece| rest.starts_with(**piece)) {
            // "Jan" and "Mon" are literal text within a longer word.
            Some(piece) if !(matches!(*piece, "Jan" | "Mon") && goes_on(&rest[3..])) => {
                write_piece(time, piece, &mut output);
                rest = &rest[piece.len()..];
            }
            _ => {
                output.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    output
}

fn goes_on(rest: &str) -> bool {
    rest.starts_with(|next: char| next.is_ascii_lowercase())
}

/// The length of a leading `.000` or `,999`: zeros or nines that no digit follows.
fn fraction(text: &str) -> Option<usize> {
    let rest = text.strip_prefix(['.', ','])?;
    let digit = rest.chars().next().filter(|digit| matches!(digit, '0' | '9'))?;
    let length = rest.len() - rest.trim_start_matches(digit).len();
    let ends = !rest[length..].starts_with(|next: char| next.is_ascii_digit());
    ends.then_some(1 + length)
}

fn write_fraction(time: &ZonedDateTime, piece: &str, output: &mut String) {
    let digits = format!("{:09}", time.subsec_nanosecond());
    let digits = &digits[..(piece.len() - 1).min(9)];
    if piece.ends_with('0') {
        output.push_str(&piece[..1]);
        output.push_str(digits);
    } else {
        let digits = digits.trim_end_matches('0');
        if !digits.is_empty() {
            output.push_str(&piece[..1]);
            output.push_str(digits);
        }
    }
}

fn write_piece(time: &ZonedDateTime, piece: &str, output: &mut String) {
    let hour = match time.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    let _ = match piece {
        "January" => write!(output, "{}", time.strftime("%B")),
        "Jan" => write!(output, "{}", time.strftime("%b")),
        "Monday" => write!(output, "{}", time.strftime("%A")),
        "Mon" => write!(output, "{}", time.strftime("%a")),
        "MST" => write!(output, "{}", zone(time)),
        "2006" => write!(output, "{:04}", time.year()),
        "_2006" => write!(output, "_{:04}", time.year()),
        "06" => write!(output, "{:02}", time.year().rem_euclid(100)),
        "01" => write!(output, "{:02}", time.month()),
        "1" => write!(output, "{}", time.month()),
        "02" => write!(output, "{:02}", time.day()),
        "_2" => write!(output, "{:>2}", time.day()),
        "2" => write!(output, "{}", time.day()),
        "002" => write!(output, "{:03}", time.day_of_year()),
        "__2" => write!(output, "{:>3}", time.day_of_year()),
        "15" => write!(output, "{:02}", time.hour()),
        "03" => write!(output, "{hour:02}"),
        "3" => write!(output, "{hour}"),
        "04" => write!(output, "{:02}", time.minute()),
        "4" => write!(output, "{}", time.minute()),
        "05" => write!(output, "{:02}", time.second()),
        "5" => write!(output, "{}", time.second()),
        "PM" => write!(output, "{}", if time.hour() < 12 { "AM" } else { "PM" }),
        "pm" => write!(output, "{}", if time.hour() < 12 { "am" } else { "pm" }),
        offset => write_offset(time.offset().seconds(), offset, output),
    };
}

/// The zone's abbreviation, or the offset if it has none, as in Go.
fn zone(time: &ZonedDateTime) -> String {
    let abbreviation = time.strftime("%Z").to_string();
    if abbreviation.is_empty() { time.strftime("%z").to_string() } else { abbreviation }
}

fn write_offset(seconds: i32, piece: &str, output: &mut String) -> std::fmt::Result {
    if piece.starts_with('Z') && seconds == 0 {
        return output.write_char('Z');
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let seconds = seconds.abs();
    let colon = if piece.contains(':') { ":" } else { "" };
    write!(output, "{sign}{:02}", seconds / 3600)?;
    // Without colons `-07` has three characters, `-0700` five, `-070000` seven.
    let digits = piece.chars().filter(char::is_ascii_digit).count();
    if digits >= 4 {
        write!(output, "{colon}{:02}", seconds / 60 % 60)?;
    }
    if digits >= 6 {
        write!(output, "{colon}{:02}", seconds % 60)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::format;
    use jiff::ZonedDateTime;

    /// The zone comes from a literal rule, so that no time zone database is needed.
    fn in_zone(instant: &str, rule: &str) -> ZonedDateTime {
        let instant: jiff::Timestamp = instant.parse().unwrap();
        instant.to_zoned_datetime(jiff::tz::TimeZone::posix(rule).unwrap())
    }

    #[test]
    fn layouts_match_those_of_go() {
        let time: ZonedDateTime = in_zone("2015-01-23T18:34:06.09325Z", "EST5EDT,M3.2.0,M11.1.0");
        for (layout, written) in [
            ("Jan 2, 2006 at 3:04pm (MST)", "Jan 23, 2015 at 1:34pm (EST)"),
            ("2006-01-02 15:04:05.999999999 -0700 MST", "2015-01-23 13:34:06.09325 -0500 EST"),
            ("Mon Jan _2 15:04:05 2006", "Fri Jan 23 13:34:06 2015"),
            ("02 Jan 06 15:04 MST", "23 Jan 15 13:34 EST"),
            ("Monday, 02-Jan-06 15:04:05 MST", "Friday, 23-Jan-15 13:34:06 EST"),
            ("2006-01-02T15:04:05Z07:00", "2015-01-23T13:34:06-05:00"),
            ("3:04PM", "1:34PM"),
            ("15.04.05.000 .999999", "13.34.06.093 .09325"),
            ("January 1 2 002 03 4 5 -07 Z0700", "January 1 23 023 01 34 6 -05 -0500"),
            ("plain text é", "plain text é"),
            ("Januaryx Monx Janx", "Januaryx Monx Janx"),
        ] {
            assert_eq!(format(&time, layout), written, "{layout}");
        }
        let noon: ZonedDateTime = in_zone("2024-02-05T12:00:00Z", "UTC0");
        assert_eq!(format(&noon, "_2 3PM Z07:00 .99 -0700"), " 5 12PM Z  +0000");
    }
}
