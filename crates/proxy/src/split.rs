//! Which of two live slots a request goes to, where that is not drawn for each request: by a signed cookie, by a hash of
//! a header, or by what the request has.

use crate::router::{Group, GroupSlot};
use gapless_core::PlacementId;
use gapless_core::routes::{STICKY_COOKIE, Split as Source};
use gapless_core::strategy::{Choose, Matcher};
use hmac::{Hmac, KeyInit, Mac};
use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

/// Bytes of a signature that are sent: as hard to guess as a key of 128 bits.
const SIGNATURE_BYTES: usize = 16;

/// By what requests are divided between the slots of a group.
#[derive(Debug)]
pub(crate) struct Split {
    to: PlacementId,
    by: By,
}

#[derive(Debug)]
enum By {
    Sticky(Vec<Mark>),
    Hash(HeaderName),
    Match(Vec<Rule>),
}

/// What a visitor of a placement is known by.
#[derive(Debug)]
struct Mark {
    placement: PlacementId,
    name: String,
    signature: String,
    set_cookie: HeaderValue,
}

#[derive(Debug)]
enum Rule {
    Header(HeaderName, HeaderValue),
    Cookie(String, String),
    Path(gapless_core::PathPrefix),
}

/// What is said of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side<'a> {
    /// It goes there.
    Slot(&'a GroupSlot),
    /// It is drawn, and its visitor remembered.
    Drawn,
}

impl PartialEq for GroupSlot {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for GroupSlot {}

impl Split {
    /// The split of a group with those placements. A rule that cannot be one matches nothing.
    pub(crate) fn new(source: &Source, placements: &[PlacementId]) -> Option<Split> {
        let by = match &source.by {
            Choose::Random => return None,
            Choose::Sticky => By::Sticky(placements.iter().filter_map(|id| Mark::new(id, &source.key)).collect()),
            Choose::Hash { header } => By::Hash(header.parse().ok()?),
            Choose::Match(matchers) => By::Match(matchers.iter().filter_map(Rule::new).collect()),
        };
        Some(Split { to: source.to.clone(), by })
    }

    /// Where a request goes, if that is not drawn for it alone.
    pub(crate) fn side<'a>(&self, group: &'a Group, headers: &HeaderMap, path: &str) -> Option<Side<'a>> {
        let of = |id: &PlacementId| group.slots.iter().find(|slot| slot.weight > 0 && slot.placement.id == *id);
        let is_new = match &self.by {
            By::Sticky(marks) => {
                let known = cookies(headers).find_map(|(name, value)| {
                    marks.iter().find(|mark| mark.name == name && is_same(mark.signature.as_bytes(), value.as_bytes()))
                });
                return Some(known.and_then(|mark| of(&mark.placement)).map_or(Side::Drawn, Side::Slot));
            }
            By::Hash(header) => {
                let weight = of(&self.to)?.weight;
                headers.get(header).is_some_and(|value| share_of(value.as_bytes()) < weight)
            }
            By::Match(rules) => rules.iter().any(|rule| rule.matches(headers, path)),
        };
        let old = || group.slots.iter().find(|slot| slot.weight > 0 && slot.placement.id != self.to);
        let slot = if is_new { of(&self.to).or_else(old) } else { old() };
        slot.map(Side::Slot)
    }

    /// What makes a visitor of that placement stay there.
    pub(crate) fn set_cookie(&self, placement: &PlacementId) -> Option<&HeaderValue> {
        let By::Sticky(marks) = &self.by else { return None };
        marks.iter().find(|mark| mark.placement == *placement).map(|mark| &mark.set_cookie)
    }
}

impl Mark {
    fn new(placement: &PlacementId, key: &str) -> Option<Mark> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
        mac.update(placement.to_string().as_bytes());
        let signature: String =
            mac.finalize().into_bytes().iter().take(SIGNATURE_BYTES).map(|byte| format!("{byte:02x}")).collect();
        let name = format!("{STICKY_COOKIE}-{}", placement.key.app);
        let set_cookie = HeaderValue::try_from(format!("{name}={signature}; Path=/; HttpOnly; SameSite=Lax")).ok()?;
        Some(Mark { placement: placement.clone(), name, signature, set_cookie })
    }
}

impl Rule {
    fn new(matcher: &Matcher) -> Option<Rule> {
        Some(match matcher {
            Matcher::Header { name, value } => Rule::Header(name.parse().ok()?, value.parse().ok()?),
            Matcher::Cookie { name, value } => Rule::Cookie(name.clone(), value.clone()),
            Matcher::Path(prefix) => Rule::Path(prefix.clone()),
        })
    }

    fn matches(&self, headers: &HeaderMap, path: &str) -> bool {
        match self {
            Rule::Header(name, value) => headers.get_all(name).iter().any(|sent| sent == value),
            Rule::Cookie(name, value) => cookies(headers).any(|(sent, with)| sent == name && with == value),
            Rule::Path(prefix) => prefix.matches(path),
        }
    }
}

/// The names and values of the Cookie headers (RFC 6265, section 4.2.1).
pub(crate) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let texts = headers.get_all(COOKIE).iter().map(|cookies| cookies.to_str().unwrap_or_default());
    texts.flat_map(|text| text.split(';').filter_map(|pair| pair.trim().split_once('=')))
}

/// Compares in a time that says nothing of where two texts differ.
pub(crate) fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

/// A number below 100 that is always the same for the same value, and spread evenly over all values. It is the same in
/// every version of gapless and on every host, as SHA-256 is.
fn share_of(value: &[u8]) -> u32 {
    let digest = Sha256::digest(value);
    let first = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    ((u128::from(first) * 100) >> 64) as u32
}
