//! Request heads and framing: everything that the guard passes has one meaning only, by `httparse` and by a plain
//! reading of RFC 9112, however the input is cut into pieces.
//!
//! The first byte chooses the length of the pieces.

#![no_main]

use gapless_proxy::Limits;
use gapless_proxy::fuzzing::{Guarded, guard};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((piece, stream)) = data.split_first() else { return };
    let limits = Limits { head_bytes_max: 2048, header_count_max: 16, ..Limits::default() };
    let guarded = guard([stream], &limits);
    let in_pieces = guard(stream.chunks(usize::from(*piece).max(1)), &limits);
    for guarded in [&guarded, &in_pieces] {
        assert!(stream.starts_with(&guarded.passed), "the guard passes its input unchanged");
        check(guarded, &limits);
    }
    let verdict = |guarded: &Guarded| (guarded.heads.clone(), guarded.refused, guarded.upgrade);
    assert_eq!(verdict(&guarded), verdict(&in_pieces), "in pieces of {piece}");
    // Only the passed part of a body that turns out to be invalid depends on the pieces.
    assert!(guarded.refused.is_some() || guarded.passed == in_pieces.passed, "in pieces of {piece}");
    if guarded.refused.is_some() && guarded.heads.is_empty() {
        assert!(!is_plain(stream), "{:?} is refused: {:?}", String::from_utf8_lossy(stream), guarded.refused);
    }
});

/// Reads the passed bytes as a server would: head, body, head, body, with nothing in between.
fn check(guarded: &Guarded, limits: &Limits) {
    let mut at = 0;
    for (begin, length) in &guarded.heads {
        assert_eq!(*begin, at, "a head begins right after the body before");
        let head = &guarded.passed[at..at + length];
        assert!(*length <= limits.head_bytes_max);
        let body = parse_strictly(head);
        at += length;
        let rest = &guarded.passed[at..];
        at += match body {
            Body::Length(length) => usize::try_from(length).map_or(rest.len(), |length| length.min(rest.len())),
            Body::Chunked => chunked(rest).unwrap_or(rest.len()),
        };
    }
    assert!(guarded.passed.len() <= at, "all passed bytes belong to a request");
}

enum Body {
    Length(u64),
    Chunked,
}

/// Parses a head by the rules of RFC 9112 and returns its framing; panics if it violates a rule.
fn parse_strictly(head: &[u8]) -> Body {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let text = String::from_utf8_lossy(head).into_owned();
    assert_eq!(request.parse(head), Ok(httparse::Status::Complete(head.len())), "{text:?}");
    // An empty line may come first (2.2); then lines, each with CR LF, no CR or LF elsewhere, no NUL anywhere.
    let lines = head.strip_prefix(b"\r\n").unwrap_or(head).strip_suffix(b"\r\n\r\n").expect("an empty line ends it");
    let lines: Vec<&[u8]> = split(lines);
    assert!(lines.iter().all(|line| !line.iter().any(|byte| b"\r\n\0".contains(byte))), "{text:?}");
    assert_eq!(lines.len(), request.headers.len() + 1, "{text:?}");
    // request-line = method SP request-target SP HTTP-version (3)
    let words: Vec<&[u8]> = lines[0].split(|byte| *byte == b' ').collect();
    assert_eq!(words.len(), 3, "{text:?}");
    assert!(is_token(words[0]) && !words[1].is_empty() && words[1].iter().all(u8::is_ascii_graphic), "{text:?}");
    assert!(matches!(words[2], b"HTTP/1.1" | b"HTTP/1.0"), "{text:?}");
    let (mut hosts, mut length, mut codings) = (0, None, Vec::new());
    for line in &lines[1..] {
        // No line folding, and no space before a colon (5.1, 5.2).
        let colon = line.iter().position(|byte| *byte == b':').expect("a field has a colon");
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        assert!(is_token(name), "{text:?}");
        assert!(value.iter().all(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f), "{text:?}");
        match name.to_ascii_lowercase().as_slice() {
            b"host" => hosts += 1,
            b"content-length" => {
                assert!(length.is_none() && value.iter().all(u8::is_ascii_digit), "{text:?}");
                length = Some(std::str::from_utf8(value).unwrap().parse::<u64>().expect("a number"));
            }
            b"transfer-encoding" => codings.push(value.to_ascii_lowercase()),
            _ => {}
        }
    }
    // Exactly one host (3.2); never two declarations of the length of the body (6.1, 6.3).
    assert_eq!(hosts, 1, "{text:?}");
    assert!(codings.is_empty() || length.is_none() && words[2] == b"HTTP/1.1", "{text:?}");
    match codings.as_slice() {
        [] => Body::Length(length.unwrap_or(0)),
        [coding] if coding == b"chunked" => Body::Chunked,
        _ => panic!("{text:?}"),
    }
}

/// The length of the chunked body (7.1) in bytes; `None` if it is incomplete.
fn chunked(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    let line = |at: usize| -> Option<&[u8]> {
        let end = body[at..].windows(2).position(|two| two == b"\r\n")?;
        Some(&body[at..at + end])
    };
    loop {
        let size = line(at)?;
        at += size.len() + 2;
        let digits = size.split(|byte| *byte == b';').next().unwrap_or_default();
        assert!(!digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit), "{:?}", String::from_utf8_lossy(body));
        let size = u64::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).expect("a size");
        if size == 0 {
            break;
        }
        let end = at.checked_add(usize::try_from(size).ok()?)?;
        let behind = body.get(end..end.checked_add(2)?)?;
        assert_eq!(behind, b"\r\n", "a chunk ends with CR LF");
        at = end + 2;
    }
    loop {
        let trailer = line(at)?;
        at += trailer.len() + 2;
        if trailer.is_empty() {
            return Some(at);
        }
        let colon = trailer.iter().position(|byte| *byte == b':').expect("a trailer has a colon");
        assert!(is_token(&trailer[..colon]), "{:?}", String::from_utf8_lossy(trailer));
    }
}

/// The stream begins with a request of a common form, which must never be rejected.
fn is_plain(stream: &[u8]) -> bool {
    let Some(end) = stream.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let lines = split(&stream[..end]);
    let Some((request, fields)) = lines.split_first() else { return false };
    let target = request.strip_prefix(b"GET /").and_then(|rest| rest.strip_suffix(b" HTTP/1.1"));
    let is_field = |line: &&[u8]| {
        let line = std::str::from_utf8(line).unwrap_or_default();
        let (name, value) = line.split_once(": ").unwrap_or_default();
        let is_special = ["host", "content-length", "transfer-encoding", "expect"]
            .iter()
            .any(|special| name.eq_ignore_ascii_case(special));
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && value.bytes().all(|byte| byte.is_ascii_graphic())
            && !is_special
    };
    let (hosts, others): (Vec<&[u8]>, Vec<&[u8]>) = fields.iter().partition(|line| **line == b"Host: a");
    end < 1024
        && target.is_some_and(|target| target.iter().all(u8::is_ascii_alphanumeric))
        && hosts.len() == 1
        && others.len() < 15
        && others.iter().all(is_field)
}

fn split(mut text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while let Some(end) = text.windows(2).position(|two| two == b"\r\n") {
        lines.push(&text[..end]);
        text = &text[end + 2..];
    }
    lines.push(text);
    lines
}

/// `1*tchar` (RFC 9110, 5.6.2).
fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}
