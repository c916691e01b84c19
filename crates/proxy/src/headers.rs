//! The headers of requests and answers on their way through: what is meant for the next hop only is taken out, where
//! the request comes from is put in, and what a client says about that is not believed.

use crate::guard::Flags;
use crate::session::Session;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, Entry, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use std::cell::{Cell, RefCell};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// Not a header of HTTP, but programs behind CGI take it for the address of *their* proxy.
const PROXY: HeaderName = HeaderName::from_static("proxy");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes the head of a request what the application is to see. `upgrade` says whether it may change the protocol.
/// Fails where the target cannot be rewritten, which no valid one does.
pub(crate) fn to_application(
    parts: &mut Parts,
    flags: Flags,
    session: &Session,
    trust_forwarded: bool,
    strip: usize,
    upgrade: bool,
) -> Option<()> {
    let headers = &mut parts.headers;
    let mut upgrade_to = None;
    if flags.has(Flags::HOP) {
        upgrade_to = if upgrade { headers.get(UPGRADE).cloned() } else { None };
        let wants_trailers = headers.get_all(TE).iter().any(|te| has_token(te, "trailers"));
        take_hop_by_hop(headers);
        headers.remove(PROXY);
        headers.remove(HTTP2_SETTINGS);
        headers.remove(PROXY_AUTHORIZATION);
        if wants_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
    } else if flags.has(Flags::BODY) {
        headers.remove(TRANSFER_ENCODING);
    }
    if flags.has(Flags::UNDERSCORE) {
        take_disguised(headers);
    }
    if let Some(protocol) = upgrade_to {
        headers.insert(UPGRADE, protocol);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    // In the absolute form the target says which host is meant, whatever the header says (RFC 9112, 3.2.2).
    if let Some(authority) = parts.uri.authority() {
        headers.insert(HOST, HeaderValue::from_str(authority.as_str()).ok()?);
    }
    let host = headers.get(HOST)?.clone();
    let trusted = trust_forwarded && flags.has(Flags::FORWARDED);
    if flags.has(Flags::FORWARDED) && !trusted {
        take_forwarded(headers);
    }
    if trusted {
        extend_forwarded(headers, session, &host);
    } else {
        headers.insert(FORWARDED, forwarded(session, &host));
        headers.insert(X_FORWARDED_FOR, session.peer_value.clone());
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
        headers.insert(X_FORWARDED_HOST, host);
        headers.insert(X_REQUEST_ID, session.worker().ids.next());
    }
    if strip > 0 {
        headers.insert(X_FORWARDED_PREFIX, HeaderValue::from_str(parts.uri.path().get(..strip)?).ok()?);
    }
    if strip > 0 || parts.uri.authority().is_some() {
        parts.uri = origin_form(&parts.uri, strip)?;
    }
    parts.version = http::Version::HTTP_11;
    Some(())
}

/// Makes the head of an answer what the client is to see.
pub(crate) fn to_client(headers: &mut HeaderMap, is_upgrade: bool) {
    if is_upgrade {
        let protocol = headers.get(UPGRADE).cloned();
        take_hop_by_hop(headers);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol {
            headers.insert(UPGRADE, protocol);
        }
        return;
    }
    take_hop_by_hop(headers);
}

/// The protocol that a request asks to change to, where that is none whose bytes gapless would have to understand:
/// HTTP/2 in a tunnel would be requests past all routes.
pub(crate) fn may_upgrade(headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(UPGRADE).iter();
    let (Some(protocol), None) = (protocols.next(), protocols.next()) else {
        return false;
    };
    let Ok(protocol) = protocol.to_str() else {
        return false;
    };
    let is_opaque = |name: &str| {
        let name = name.trim().to_ascii_lowercase();
        !name.is_empty() && !name.starts_with("h2") && !name.starts_with("http") && !name.starts_with("tls")
    };
    protocol.split(',').all(is_opaque) && headers.get_all(CONNECTION).iter().any(|value| has_token(value, "upgrade"))
}

/// Whether a value of comma-separated tokens has `token`.
pub(crate) fn has_token(value: &HeaderValue, token: &str) -> bool {
    value.to_str().is_ok_and(|text| text.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
}

/// Takes out what is meant for one hop: the fixed names and those that `Connection` names (RFC 9110, 7.6.1).
fn take_hop_by_hop(headers: &mut HeaderMap) {
    let mut named = Vec::new();
    for value in headers.get_all(CONNECTION) {
        // What nearly everybody says names nothing.
        if value != "keep-alive" && value != "close" {
            let names = value.to_str().unwrap_or_default().split(',');
            named.extend(names.filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok()));
        }
    }
    for name in named {
        // Without these it would be another message, not the same one for another hop.
        if name != HOST && name != CONTENT_LENGTH {
            headers.remove(name);
        }
    }
    headers.remove(CONNECTION);
    // Most messages have none of the others, and to see that is cheaper than to look each of them up.
    if headers.keys().any(|name| matches!(name.as_str().len(), 2 | 7 | 10 | 16 | 17)) {
        for name in [KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
            headers.remove(name);
        }
    }
}

/// Takes out what programs that turn `-` into `_` (CGI, WSGI, PHP) would take for a header that we set or rely on.
fn take_disguised(headers: &mut HeaderMap) {
    let is_disguise = |name: &HeaderName| {
        name.as_str().contains('_') && {
            let plain = name.as_str().replace('_', "-");
            is_forwarded(&plain)
                || plain.starts_with("proxy")
                || matches!(
                    plain.as_str(),
                    "host" | "connection" | "content-length" | "content-type" | "transfer-encoding" | "te" | "upgrade"
                )
        }
    };
    let disguised: Vec<HeaderName> = headers.keys().filter(|name| is_disguise(name)).cloned().collect();
    for name in disguised {
        headers.remove(name);
    }
}

fn is_forwarded(name: &str) -> bool {
    name.starts_with("x-forwarded") || matches!(name, "forwarded" | "x-real-ip" | "x-request-id" | "x-client-ip")
}

fn take_forwarded(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| is_forwarded(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Another proxy of ours stands in front: what it says is kept, and what we know is put behind it.
fn extend_forwarded(headers: &mut HeaderMap, session: &Session, host: &HeaderValue) {
    append(headers, X_FORWARDED_FOR, &session.peer_value);
    append(headers, FORWARDED, &forwarded(session, host));
    for (name, value) in [
        (X_FORWARDED_PROTO, HeaderValue::from_static("http")),
        (X_FORWARDED_HOST, host.clone()),
        (X_REQUEST_ID, session.worker().ids.next()),
    ] {
        if let Entry::Vacant(entry) = headers.entry(name) {
            entry.insert(value);
        }
    }
    headers.remove(X_REAL_IP);
}

fn append(headers: &mut HeaderMap, name: HeaderName, value: &HeaderValue) {
    let mut text = Vec::new();
    for present in headers.get_all(&name) {
        text.extend_from_slice(present.as_bytes());
        text.extend_from_slice(b", ");
    }
    text.extend_from_slice(value.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&text) {
        headers.insert(name, value);
    }
}

/// The value of `Forwarded` (RFC 7239) for a request of the session.
fn forwarded(session: &Session, host: &HeaderValue) -> HeaderValue {
    if let Some((known, value)) = &*session.forwarded.borrow()
        && known == host
    {
        return value.clone();
    }
    let ip = session.peer.ip().to_canonical();
    let node = if ip.is_ipv6() { format!("\"[{ip}]\"") } else { ip.to_string() };
    let host_text = host.to_str().unwrap_or_default().replace(['"', '\\'], "");
    let text = format!("for={node};host=\"{host_text}\";proto=http");
    let value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("for=unknown"));
    *session.forwarded.borrow_mut() = Some((host.clone(), value.clone()));
    value
}

/// The target as a server other than a proxy is asked for it, without the first `strip` bytes of its path.
fn origin_form(uri: &Uri, strip: usize) -> Option<Uri> {
    let full = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let rest = full.get(strip..)?;
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    Uri::try_from(rest).ok()
}

/// Makes identifiers of requests: unique by a random beginning for each core and a counter. Made in blocks, so that a
/// request does not cost an allocation.
pub(crate) struct RequestIds {
    prefix: u64,
    counter: Cell<u64>,
    block: RefCell<Bytes>,
}

const ID_LENGTH: usize = 32;
const IDS_IN_BLOCK: usize = 64;

impl RequestIds {
    pub(crate) fn new(prefix: u64, counter: u64) -> Self {
        RequestIds { prefix, counter: Cell::new(counter), block: RefCell::default() }
    }

    pub(crate) fn next(&self) -> HeaderValue {
        let mut block = self.block.borrow_mut();
        if block.is_empty() {
            *block = self.make_block();
        }
        let id = block.split_to(ID_LENGTH);
        HeaderValue::from_maybe_shared(id).unwrap_or(HeaderValue::from_static("0"))
    }

    fn make_block(&self) -> Bytes {
        const DIGITS: [[u8; 2]; 256] = {
            let digits = b"0123456789abcdef";
            let mut pairs = [[0; 2]; 256];
            let mut byte = 0;
            while byte < 256 {
                pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
                byte += 1;
            }
            pairs
        };
        let mut block = BytesMut::with_capacity(ID_LENGTH * IDS_IN_BLOCK);
        for _ in 0..IDS_IN_BLOCK {
            let count = self.counter.get().wrapping_add(1);
            self.counter.set(count);
            // Spread, so that how many requests there are is not written in each of them.
            let spread = (count ^ count >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            for byte in self.prefix.to_be_bytes().into_iter().chain((spread ^ spread >> 29).to_be_bytes()) {
                block.put_slice(&DIGITS[usize::from(byte)]);
            }
        }
        block.freeze()
    }
}

/// Whether an answer is a stream of events (WHATWG HTML, server-sent events), whose client comes again when it ends.
pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("text/event-stream") && !headers.contains_key(CONTENT_LENGTH)
}
