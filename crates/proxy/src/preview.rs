//! Requests that are meant for a release that is being tested: by a header, or for browsers a cookie.

use crate::guard::Flags;
use crate::router::Group;
use crate::split::{cookies, is_same};
use gapless_core::routes::{PREVIEW_COOKIE, PREVIEW_HEADER};
use http::header::{HeaderMap, HeaderName};

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
    let is_asked = cookies(headers)
        .any(|(name, value)| name == PREVIEW_COOKIE && is_same(value.as_bytes(), preview.token.as_bytes()));
    Ok(is_asked.then_some(&*preview.group))
}
