//! The answers that gapless gives itself, and their counts.

use crate::body::AnswerBody;
use crate::guard::Refusal;
use crate::router::{Group, OwnCounts};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use std::sync::atomic::{AtomicU64, Ordering};

/// Why gapless answers for the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No instance could be reached, or the connection broke before an answer.
    BadGateway,
    /// No instance is live.
    Unavailable,
    /// The answer did not come in time.
    Timeout,
}

/// The answer to a request that no route is for.
pub(crate) fn no_route(own: &OwnCounts) -> Response<AnswerBody> {
    count(&own.no_route);
    page(StatusCode::NOT_FOUND, "Not found", "No application answers for this address.", None)
}

/// The answer to a request for a preview that is none, or none any more: never the live release's, which its sender
/// would take for that of the tested one.
pub(crate) fn no_preview(own: &OwnCounts) -> Response<AnswerBody> {
    count(&own.no_route);
    page(StatusCode::NOT_FOUND, "No such preview", "No release under test has this token.", None)
}

/// The answer to a request that is refused. The connection ends with it.
pub(crate) fn refused(refusal: Refusal, own: &OwnCounts) -> Response<AnswerBody> {
    count(&own.refused);
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    let title = status.canonical_reason().unwrap_or("Bad request");
    let text = format!("The request was refused: {}.", refusal.reason);
    let mut answer = page(status, title, &text, None);
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// The answer when the application cannot give one. Without a group, because it left the table meanwhile, it is
/// counted as `unrouted`.
pub(crate) fn trouble(trouble: Trouble, group: Option<&Group>, unrouted: &OwnCounts) -> Response<AnswerBody> {
    let own = group.map_or(unrouted, |group| &group.own);
    let (status, counter, title, text) = match trouble {
        Trouble::BadGateway => {
            (StatusCode::BAD_GATEWAY, &own.bad_gateway, "Bad gateway", "The application could not be reached.")
        }
        Trouble::Unavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            &own.unavailable,
            "Unavailable",
            "The application is not running at the moment.",
        ),
        Trouble::Timeout => {
            (StatusCode::GATEWAY_TIMEOUT, &own.timeout, "Timeout", "The application did not answer in time.")
        }
    };
    count(counter);
    let mut answer = page(status, title, text, group.and_then(|group| group.error_page.as_ref()));
    let retry_after = group.map_or(HeaderValue::from_static("1"), |group| group.retry_after.clone());
    answer.headers_mut().insert(RETRY_AFTER, retry_after);
    answer
}

/// The answer of an application under maintenance.
pub(crate) fn maintenance(group: &Group, own_page: Option<&Bytes>) -> Response<AnswerBody> {
    count(&group.own.maintenance);
    let text = "The application is under maintenance and will be back soon.";
    let mut answer = page(StatusCode::SERVICE_UNAVAILABLE, "Under maintenance", text, own_page);
    answer.headers_mut().insert(RETRY_AFTER, group.retry_after.clone());
    answer
}

fn page(status: StatusCode, title: &str, text: &str, own: Option<&Bytes>) -> Response<AnswerBody> {
    let html = own.cloned().unwrap_or_else(|| {
        let code = status.as_u16();
        Bytes::from(format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{code} {title}</title>\n\
             <h1>{title}</h1>\n<p>{text}</p>\n</html>\n"
        ))
    });
    let mut answer = Response::new(AnswerBody::page(html));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
