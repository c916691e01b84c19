//! Makes a request out of the bytes of its head once more, for the rare one that has to be sent twice. The guard has
//! checked them and the server has understood them before.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

/// Headers that a head may have; the guard allows no more.
const HEADERS_MAX: usize = 256;

/// The request that `head` is. `None` where it is none, which cannot be.
pub(crate) fn parse(head: &[u8]) -> Option<Parts> {
    let mut space = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut space);
    request.parse(head).ok().filter(httparse::Status::is_complete)?;
    let mut headers = HeaderMap::with_capacity(request.headers.len());
    for header in request.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(header.value).ok()?);
    }
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::from_bytes(request.method?.as_bytes()).ok()?;
    parts.uri = Uri::try_from(request.path?).ok()?;
    parts.headers = headers;
    Some(parts)
}
