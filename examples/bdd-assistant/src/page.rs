//! The page: one embedded file, which uses the API.

use crate::app::label;
use axum::http::header;
use axum::response::IntoResponse;

const PAGE: &str = include_str!("page.html");

pub async fn page() -> impl IntoResponse {
    // Labels from gapless contain only letters, digits and hyphens; this prevents markup from any other source.
    let safe = |text: String| text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect::<String>();
    let page =
        PAGE.replace("{release}", &safe(label("GAPLESS_RELEASE"))).replace("{slot}", &safe(label("GAPLESS_SLOT")));
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"),
    ];
    (headers, page)
}
