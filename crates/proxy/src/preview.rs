//! Requests that are meant for a release that is being tested: by a header, or for browsers a cookie.

use crate::guard::Flags;
use crate::router::Group;
use gapless_core::routes::{PREVIEW_COOKIE, PREVIEW_HEADER};
use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue};

pub(crate) const HEADER: HeaderName = HeaderName::from_static(PREVIEW_HEADER);

/// A preview was asked for that there is not.
pub(crate) struct NoSuchPreview;

/// The group of the preview, if one is asked for.
pub(crate) fn asked<'a>(
    group: &'a Group,
    headers: &HeaderMap,
    flags: Flags,
) -> Result<Option<&'a Group>, NoSuchPreview> {
    // The guard has seen whether any header begins with an x: few requests have one.
    if flags.has(Flags::FORWARDED)
        && let Some(token) = headers.get(HEADER)
    {
        let preview = group.preview.as_ref().filter(|preview| is_same(token.as_bytes(), preview.token.as_bytes()));
        return preview.map(|preview| Some(&*preview.group)).ok_or(NoSuchPreview);
    }
    let Some(preview) = &group.preview else { return Ok(None) };
    let mut cookies = headers.get_all(COOKIE).iter().flat_map(pairs);
    let is_asked =
        cookies.any(|(name, value)| name == PREVIEW_COOKIE && is_same(value.as_bytes(), preview.token.as_bytes()));
    Ok(is_asked.then_some(&*preview.group))
}

/// The names and values of a Cookie header (RFC 6265, section 4.2.1).
fn pairs(cookies: &HeaderValue) -> impl Iterator<Item = (&str, &str)> {
    let text = cookies.to_str().unwrap_or_default();
    text.split(';').filter_map(|pair| pair.trim().split_once('='))
}

/// Compares in a time that says nothing of where two texts differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}
