//! The page: one file, embedded, which talks to the API.

use crate::label;
use axum::http::header;
use axum::response::IntoResponse;

const PAGE: &str = include_str!("page.html");

pub async fn page() -> impl IntoResponse {
    // The labels hold letters and digits only, as gapless gives them; anything else must not become markup.
    let safe = |text: String| text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect::<String>();
    let page =
        PAGE.replace("{release}", &safe(label("GAPLESS_RELEASE"))).replace("{slot}", &safe(label("GAPLESS_SLOT")));
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"),
    ];
    (headers, page)
}
