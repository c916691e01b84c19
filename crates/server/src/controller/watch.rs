//! Compares the answers of a new release and the old one, for as long as requests go to the new one and the old one
//! could take them back. The comparison is lost with the server, and then starts from zero.

use crate::records::Loaded;
use gapless_core::deployment::Kind;
use gapless_core::judge::{Comparison, Figures, Judge};
use gapless_core::{AppKey, Phase, PlacementId};
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Watch {
    watched: Option<Watched>,
}

struct Watched {
    deployment: u64,
    is_canary: bool,
    judge: Judge,
    old: Figures,
    new: Figures,
}

impl Watch {
    /// Forgets all counts: the next comparison starts from zero.
    pub(super) fn forget(&mut self) {
        self.watched = None;
    }

    /// The comparison for the active deployment, by the current counts if they are known.
    pub(super) fn compare(
        &mut self,
        loaded: &Loaded,
        counts: Option<&BTreeMap<PlacementId, Figures>>,
    ) -> Option<Comparison> {
        let Some((deployment, is_canary, old, new)) = subjects(loaded) else {
            self.watched = None;
            return None;
        };
        let is_same = |watched: &&mut Watched| (watched.deployment, watched.is_canary) == (deployment, is_canary);
        let Some(counts) = counts else {
            return self.watched.as_mut().filter(is_same).map(|watched| watched.judge.comparison());
        };
        let of = |id: Option<&PlacementId>| id.and_then(|id| counts.get(id)).cloned().unwrap_or_default();
        let (old, new) = (of(old.as_ref()), of(Some(&new)));
        if let Some(watched) = self.watched.as_mut().filter(is_same) {
            let (since_old, since_new) = (old.since(&watched.old), new.since(&watched.new));
            if since_old.requests > 0 || since_new.requests > 0 {
                watched.judge.take(&since_old, &since_new);
                (watched.old, watched.new) = (old, new);
            }
            return Some(watched.judge.comparison());
        }
        let rule = loaded.state.release.as_ref()?.spec.judge.clone();
        let judge = match is_canary {
            true => Judge::side_by_side(rule, old.clone()),
            false => Judge::after(rule, old.clone()),
        };
        let watched = self.watched.insert(Watched { deployment, is_canary, judge, old, new });
        Some(watched.judge.comparison())
    }
}

/// The active deployment, true for a canary, and the old and the new placement.
fn subjects(loaded: &Loaded) -> Option<(u64, bool, Option<PlacementId>, PlacementId)> {
    let deployment = loaded.state.deployment.as_ref().filter(|deployment| deployment.kind == Kind::Deploy)?;
    let is_canary = match deployment.phase {
        Phase::Canary => true,
        Phase::Observing => false,
        _ => return None,
    };
    let key: &AppKey = &loaded.state.app.key;
    let old =
        deployment.previous.map(|old| PlacementId { key: key.clone(), slot: old.slot, deployment: old.deployment });
    Some((deployment.number, is_canary, old, deployment.placement()?))
}
