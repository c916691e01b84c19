//! Reads request heads more strictly than any server behind does, so that all of them see the same request: one way to
//! end a line, one way to say how long a body is.

use super::refusal::Refusal;
use memchr::memchr;

/// What a head has that others must know of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flags(u16);

impl Flags {
    /// `Connection`, or a header that is only ever meant for the next hop.
    pub(crate) const HOP: Flags = Flags(1);
    /// A header that says where a request comes from, or may be taken for one.
    pub(crate) const FORWARDED: Flags = Flags(2);
    /// A header name with an underscore.
    pub(crate) const UNDERSCORE: Flags = Flags(4);
    /// `Upgrade`, on a request without a body.
    pub(crate) const UPGRADE: Flags = Flags(8);
    /// `Expect: 100-continue`.
    pub(crate) const EXPECT: Flags = Flags(16);
    /// A body follows.
    pub(crate) const BODY: Flags = Flags(32);
    /// It is a request of HTTP/1.0.
    pub(crate) const HTTP_10: Flags = Flags(64);

    pub(crate) const fn has(self, flag: Flags) -> bool {
        self.0 & flag.0 != 0
    }

    fn set(&mut self, flag: Flags) {
        self.0 |= flag.0;
    }

    fn clear(&mut self, flag: Flags) {
        self.0 &= !flag.0;
    }
}

/// How the body behind a head is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
}

/// What a complete head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadFacts {
    pub(crate) flags: Flags,
    pub(crate) framing: Framing,
}

/// Reads one head, over as many reads as it takes; no byte is looked at twice for every further one.
#[derive(Debug, Default)]
pub(crate) struct HeadScan {
    /// Where the line that is not complete begins.
    line: usize,
    /// Up to where no line feed was found.
    searched: usize,
    request_line_seen: bool,
    empty_lines: u8,
    headers: usize,
    hosts: u8,
    length: Option<u64>,
    chunked: bool,
    flags: Flags,
}

/// Bytes that may stand in a token; the second bit marks the underscore.
const TOKEN: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        if b.is_ascii_alphanumeric() {
            table[byte] = 1;
        }
        byte += 1;
    }
    let marks = b"!#$%&'*+-.^`|~";
    let mut i = 0;
    while i < marks.len() {
        table[marks[i] as usize] = 1;
        i += 1;
    }
    table[b'_' as usize] = 3;
    table
};

/// Whether all of it are token characters, and whether one is an underscore. An empty one is no token.
fn token(name: &[u8]) -> Option<bool> {
    let (all, any) = name.iter().fold((3, 0), |(all, any), byte| {
        let class = TOKEN[*byte as usize];
        (all & (class | 2), any | class)
    });
    (!name.is_empty() && all & 1 == 1).then_some(any & 2 == 2)
}

/// Whether a field value holds only what it may hold: no control characters but tabs.
pub(super) fn is_value(value: &[u8]) -> bool {
    !value.iter().fold(false, |bad, byte| bad | ((*byte < 0x20) & (*byte != b'\t')) | (*byte == 0x7f))
}

pub(super) const fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize] != 0
}

impl HeadScan {
    /// Whether nothing of a head has been read.
    pub(crate) const fn is_untouched(&self) -> bool {
        self.searched == 0
    }

    /// Reads on in `bytes`, which begin where the head begins and have all that was passed before. Returns the length
    /// of the head with what it says, or `None` where it is not complete.
    pub(crate) fn advance(
        &mut self,
        bytes: &[u8],
        head_bytes_max: usize,
        header_count_max: usize,
    ) -> Result<Option<(usize, HeadFacts)>, Refusal> {
        let too_large = |seen| if seen { Refusal::HEAD_TOO_LARGE } else { Refusal::TARGET_TOO_LONG };
        while let Some(found) = memchr(b'\n', &bytes[self.searched..]) {
            let end = self.searched + found;
            if end >= head_bytes_max {
                return Err(too_large(self.request_line_seen));
            }
            let Some(line) = bytes[self.line..end].strip_suffix(b"\r") else {
                return Err(Refusal::bad("a line does not end with CR LF"));
            };
            (self.line, self.searched) = (end + 1, end + 1);
            if !self.request_line_seen {
                // One empty line before a request is to be ignored (RFC 9112, 2.2); more are somebody's experiment.
                if line.is_empty() && self.empty_lines == 0 {
                    self.empty_lines = 1;
                    continue;
                }
                self.request_line(line)?;
                self.request_line_seen = true;
            } else if line.is_empty() {
                return Ok(Some((end + 1, self.finish()?)));
            } else {
                self.headers += 1;
                if self.headers > header_count_max {
                    return Err(Refusal::HEAD_TOO_LARGE);
                }
                self.header(line)?;
            }
        }
        self.searched = bytes.len();
        if bytes.len() >= head_bytes_max {
            return Err(too_large(self.request_line_seen));
        }
        Ok(None)
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let space = memchr(b' ', line).ok_or(Refusal::bad("the request line is malformed"))?;
        let (method, rest) = (&line[..space], &line[space + 1..]);
        let space = memchr(b' ', rest).ok_or(Refusal::bad("the request line is malformed"))?;
        let (target, version) = (&rest[..space], &rest[space + 1..]);
        if method.len() > 32 || token(method).is_none() {
            return Err(Refusal::bad("the method is malformed"));
        }
        match version {
            b"HTTP/1.1" => {}
            b"HTTP/1.0" => self.flags.set(Flags::HTTP_10),
            _ if version.len() == 8 && version.starts_with(b"HTTP/") && version[5].is_ascii_digit() => {
                return Err(Refusal::VERSION);
            }
            _ => return Err(Refusal::bad("the version is malformed")),
        }
        // A tunnel to anywhere is not what a reverse proxy is for; TRACE shows a page its visitor's secrets.
        if matches!(method, b"CONNECT" | b"TRACE") {
            return Err(Refusal::METHOD);
        }
        let is_visible =
            !target.iter().fold(false, |bad, byte| bad | (*byte <= 0x20) | (*byte >= 0x7f) | (*byte == b'#'));
        let is_form = target.starts_with(b"/")
            || target == b"*" && method == b"OPTIONS"
            || target.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"http://"))
            || target.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https://"));
        if is_visible && is_form { Ok(()) } else { Err(Refusal::bad("the request target is malformed")) }
    }

    fn header(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let colon = memchr(b':', line).ok_or(Refusal::bad("a header has no colon"))?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        // A line that begins with white space (obsolete folding), and white space before the colon, fail here.
        let has_underscore = token(name).ok_or(Refusal::bad("a header name is malformed"))?;
        if !is_value(value) {
            return Err(Refusal::bad("a header value contains a control character"));
        }
        if has_underscore {
            self.flags.set(Flags::UNDERSCORE);
        }
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        match name[0] | 0x20 {
            b'h' if is(b"host") => self.hosts = self.hosts.saturating_add(1),
            b'c' if is(b"content-length") => self.content_length(value)?,
            b'c' if is(b"connection") => self.flags.set(Flags::HOP),
            b't' if is(b"transfer-encoding") => self.transfer_encoding(value)?,
            b't' if is(b"te") => self.flags.set(Flags::HOP),
            b'k' if is(b"keep-alive") => self.flags.set(Flags::HOP),
            b'p' if name.len() >= 5 && name[..5].eq_ignore_ascii_case(b"proxy") => self.flags.set(Flags::HOP),
            b'u' if is(b"upgrade") => {
                self.flags.set(Flags::HOP);
                self.flags.set(Flags::UPGRADE);
            }
            b'h' if is(b"http2-settings") => self.flags.set(Flags::HOP),
            b'f' if is(b"forwarded") => self.flags.set(Flags::FORWARDED),
            b'x' => self.flags.set(Flags::FORWARDED),
            b'e' if is(b"expect") => self.expect(value)?,
            _ => {}
        }
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let value = value.trim_ascii();
        if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
            return Err(Refusal::bad("the content length is malformed"));
        }
        if self.length.is_some() {
            return Err(Refusal::bad("the content length is given twice"));
        }
        self.length = Some(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')));
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        // Others are legal, but nobody sends them, and each is a chance to be understood in two ways.
        if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::bad("the transfer encoding is not simply `chunked`"));
        }
        self.chunked = true;
        Ok(())
    }

    fn expect(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if !value.trim_ascii().eq_ignore_ascii_case(b"100-continue") {
            return Err(Refusal::EXPECTATION);
        }
        self.flags.set(Flags::EXPECT);
        Ok(())
    }

    fn finish(&mut self) -> Result<HeadFacts, Refusal> {
        if self.hosts != 1 {
            return Err(Refusal::bad(if self.hosts == 0 {
                "the Host header is missing"
            } else {
                "there are two Host headers"
            }));
        }
        let framing = match (self.length, self.chunked) {
            (Some(_), true) => {
                return Err(Refusal::bad("the request has both a content length and a transfer encoding"));
            }
            (None, true) if self.flags.has(Flags::HTTP_10) => {
                return Err(Refusal::bad("HTTP/1.0 has no transfer encoding"));
            }
            (None, true) => Framing::Chunked,
            (length, false) => Framing::Length(length.unwrap_or(0)),
        };
        if framing == Framing::Length(0) {
            self.flags.clear(Flags::EXPECT);
        } else {
            self.flags.set(Flags::BODY);
            // What would follow the body, the other protocol or a request, cannot be told.
            self.flags.clear(Flags::UPGRADE);
        }
        if self.flags.has(Flags::HTTP_10) {
            self.flags.clear(Flags::UPGRADE);
            self.flags.clear(Flags::EXPECT);
        }
        Ok(HeadFacts { flags: self.flags, framing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(head: &[u8]) -> Result<Option<(usize, HeadFacts)>, Refusal> {
        HeadScan::default().advance(head, 4096, 10)
    }

    proptest! {
        #[test]
        fn however_a_head_is_cut_into_reads_the_verdict_is_the_same(
            lines in proptest::collection::vec("[ -~]{0,30}|Host: a|Content-Length: [0-9]{1,3}|Transfer-Encoding: chunked", 0..8),
            ends in proptest::collection::vec(prop_oneof![9 => Just("\r\n"), 1 => Just("\n")], 9),
            cuts in proptest::collection::vec(0_usize..200, 0..6),
        ) {
            let mut head = String::from("GET / HTTP/1.1\r\n");
            for (line, end) in lines.iter().zip(&ends) {
                head.push_str(line);
                head.push_str(end);
            }
            head.push_str("\r\n");
            let head = head.as_bytes();
            let at_once = scan(head);
            let mut in_pieces = HeadScan::default();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % head.len()).chain([head.len()]).collect();
            cuts.sort_unstable();
            let verdicts = cuts.iter().map(|cut| in_pieces.advance(&head[..*cut], 4096, 10));
            let verdict = verdicts.into_iter().find(|verdict| !matches!(verdict, Ok(None))).unwrap_or(Ok(None));
            prop_assert_eq!(verdict, at_once);
        }

        #[test]
        fn a_head_that_passes_is_one_that_the_parser_behind_understands_in_the_same_way(
            lines in proptest::collection::vec("[!-~]{1,8}: ?[ -~\t]{0,20}|[a-zA-Z-]{1,10}:[!-~]{0,10}", 0..6),
        ) {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", lines.iter().map(|l| format!("{l}\r\n")).collect::<String>());
            if let Ok(Some((length, _))) = scan(head.as_bytes()) {
                let mut headers = [httparse::EMPTY_HEADER; 16];
                let mut request = httparse::Request::new(&mut headers);
                prop_assert_eq!(request.parse(head.as_bytes()), Ok(httparse::Status::Complete(length)));
                prop_assert_eq!(request.headers.len(), lines.len() + 1);
            }
        }
    }
}
