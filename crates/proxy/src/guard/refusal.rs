//! Why a request is refused before anything of it reaches an application.

/// A refusal: the status that answers it, and why. The connection is closed behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
}

impl Refusal {
    pub(crate) const fn bad(reason: &'static str) -> Self {
        Refusal { status: 400, reason }
    }

    pub(crate) const METHOD: Refusal = Refusal { status: 405, reason: "the method is not allowed" };
    pub(crate) const TIMEOUT: Refusal = Refusal { status: 408, reason: "the request did not arrive in time" };
    pub(crate) const TARGET_TOO_LONG: Refusal = Refusal { status: 414, reason: "the request target is too long" };
    pub(crate) const EXPECTATION: Refusal = Refusal { status: 417, reason: "the expectation is not understood" };
    pub(crate) const HEAD_TOO_LARGE: Refusal = Refusal { status: 431, reason: "the request head is too large" };
    pub(crate) const VERSION: Refusal = Refusal { status: 505, reason: "only HTTP/1.1 and HTTP/1.0 are supported" };
}
