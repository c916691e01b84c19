//! The choice of a request's slot: a constant if there is one slot; otherwise a variable, from `split_clients` for
//! shares and `map` for headers, cookies and paths.

use super::syntax::{Directive, Word, block, line, literal, set};
use gapless_core::routes::{PREVIEW_COOKIE, Split};
use gapless_core::strategy::{Choose, Matcher};
use gapless_core::{PlacementId, RouteGroup, SlotRole, SlotRoute};

/// The slot of a preview that does not exist.
pub(super) const NONE: &str = "none";
/// The slot where no slot serves.
pub(super) const UNAVAILABLE: &str = "unavailable";

/// The result of the choice.
pub(super) struct Chosen {
    /// A slot's label, or the variable that contains the label.
    pub(super) slot: String,
    /// True if the variable can be [`NONE`].
    pub(super) may_be_none: bool,
    /// True if the variable can be [`UNAVAILABLE`].
    pub(super) may_be_unavailable: bool,
    /// True if no slot serves, so that no request can be forwarded.
    pub(super) is_never: bool,
}

/// The name of a placement in nginx's configuration.
pub(super) fn label(slot: &SlotRoute) -> String {
    label_of(&slot.placement)
}

fn label_of(id: &PlacementId) -> String {
    format!("{}-{}", id.slot, id.deployment)
}

/// The directives that choose a slot, and their result.
pub(super) fn directives(group: &RouteGroup, prefix: &str) -> (Vec<Directive>, Chosen) {
    let (mut all, live) = live(group, prefix);
    let Some(preview) = &group.preview else {
        let is_never = live == UNAVAILABLE;
        return (all, Chosen { slot: live, may_be_none: false, may_be_unavailable: false, is_never });
    };
    let to = label(&preview.slot);
    let by_cookie = format!("${prefix}_by_cookie");
    all.push(map("$http_cookie", &by_cookie, &live, vec![(cookie(PREVIEW_COOKIE, &preview.token), to.clone())]));
    let slot = format!("${prefix}_slot");
    let by_header = vec![
        // A request with an unknown token never reaches the live slot.
        set("default", NONE),
        line([Word::Untrusted(String::new()), by_cookie.into()]),
        line([format!("~^{}$", literal(&preview.token)).into(), to.into()]),
    ];
    all.push(block(["map".into(), "$http_x_gapless_preview".into(), slot.clone().into()], by_header));
    let may_be_unavailable = live == UNAVAILABLE;
    (all, Chosen { slot, may_be_none: true, may_be_unavailable, is_never: false })
}

/// The slots that share the requests: the slots with instances, or all weighted slots if none has an instance.
pub(super) fn weighted(group: &RouteGroup) -> Vec<&SlotRoute> {
    let weighted = group.slots.iter().filter(|slot| slot.role == SlotRole::Live && slot.weight > 0);
    let weighted: Vec<_> = weighted.collect();
    let can_answer: Vec<_> = weighted.iter().filter(|slot| !slot.instances.is_empty()).copied().collect();
    if can_answer.is_empty() { weighted } else { can_answer }
}

/// A share in nginx's notation: to a hundredth of a percent.
pub(super) fn percent(weight: u32, total: u64) -> String {
    let hundredths = u64::from(weight) * 10_000 / total.max(1);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// The slot of requests without a preview token.
fn live(group: &RouteGroup, prefix: &str) -> (Vec<Directive>, String) {
    let slots = weighted(group);
    match (slots.as_slice(), &group.split) {
        ([], _) => (Vec::new(), UNAVAILABLE.to_owned()),
        ([one], _) => (Vec::new(), label(one)),
        ([others @ .., last], None) => {
            let variable = format!("${prefix}_drawn");
            (vec![shares("$request_id", &variable, others, last)], variable)
        }
        (slots, Some(split)) => by_split(slots, split, prefix),
    }
}

fn by_split(slots: &[&SlotRoute], split: &Split, prefix: &str) -> (Vec<Directive>, String) {
    let old = slots.iter().find(|slot| slot.placement != split.to);
    let new = slots.iter().find(|slot| slot.placement == split.to);
    let (Some(old), Some(new)) = (old, new) else {
        return (Vec::new(), slots.first().map_or_else(|| UNAVAILABLE.to_owned(), |slot| label(slot)));
    };
    match &split.by {
        // Sticky visitors are rejected before a deployment starts.
        Choose::Random | Choose::Sticky => {
            let variable = format!("${prefix}_drawn");
            (vec![shares("$request_id", &variable, &[new], old)], variable)
        }
        Choose::Hash { header } => {
            let source = header_variable(header);
            let (hashed, variable) = (format!("${prefix}_hashed"), format!("${prefix}_by_hash"));
            let inner = vec![set("default", hashed.clone()), line([Word::Untrusted(String::new()), label(old).into()])];
            let by_header = block(["map".into(), source.clone().into(), variable.clone().into()], inner);
            (vec![shares(&source, &hashed, &[new], old), by_header], variable)
        }
        Choose::Match(matchers) => {
            let mut all = Vec::new();
            let mut so_far = label(old);
            for (at, matcher) in matchers.iter().enumerate() {
                let (source, pattern) = match matcher {
                    Matcher::Header { name, value } => (header_variable(name), format!("~^{}$", literal(value))),
                    Matcher::Cookie { name, value } => ("$http_cookie".to_owned(), cookie(name, value)),
                    Matcher::Path(path) if path.as_str() == "/" => ("$request_uri".to_owned(), "~^/".to_owned()),
                    Matcher::Path(path) => ("$request_uri".to_owned(), format!("~^{}([/?]|$)", literal(path.as_str()))),
                };
                let variable = format!("${prefix}_match_{at}");
                all.push(map(&source, &variable, &so_far, vec![(pattern, label(new))]));
                so_far = variable;
            }
            (all, so_far)
        }
    }
}

/// `split_clients`: shares by the hash of `source`, the rest to `last`.
fn shares(source: &str, variable: &str, others: &[&SlotRoute], last: &SlotRoute) -> Directive {
    let total: u64 = others.iter().map(|slot| u64::from(slot.weight)).sum::<u64>() + u64::from(last.weight);
    let mut inner: Vec<_> = others
        .iter()
        .map(|slot| line([format!("{}%", percent(slot.weight, total)).into(), label(slot).into()]))
        .collect();
    inner.push(line(["*".into(), label(last).into()]));
    block(["split_clients".into(), source.into(), variable.into()], inner)
}

fn map(source: &str, variable: &str, default: &str, patterns: Vec<(String, String)>) -> Directive {
    let patterns = patterns.into_iter().map(|(pattern, value)| line([pattern.into(), value.into()]));
    let inner = std::iter::once(set("default", default)).chain(patterns).collect();
    block(["map".into(), source.into(), variable.into()], inner)
}

/// A pattern for the Cookie header: nginx's own cookie variables allow no hyphen in a cookie's name.
fn cookie(name: &str, value: &str) -> String {
    format!("~(?:^|;\\s*){}={}(?:;|$)", literal(name), literal(value))
}

fn header_variable(name: &str) -> String {
    format!("$http_{}", name.to_ascii_lowercase().replace('-', "_"))
}
