//! Judges a history: at every moment at most one slot is live, and the live slot was changed only by a server that led
//! at that very revision.

use super::members::Change;
use gapless_core::routes::{RouteGroup, SlotRole};
use gapless_core::{Application, Deployment, Slot};
use std::collections::BTreeMap;

const APPLICATIONS: &str = "/gapless/apps/";
const DEPLOYMENTS: &str = "/gapless/deployments/";
pub(super) const LEADER: &str = "/gapless/leader";

/// The verdict on a history.
#[derive(Debug, Default)]
pub struct Judgement {
    /// Moments with more than one live slot.
    pub double_live: u64,
    /// Changes of the live slot by a server that did not lead.
    pub unfenced: u64,
    /// Changes of the live slot whose answer was lost, so that no log names the server that made them; some server led.
    pub unanswered: u64,
    /// Changes of the live slot.
    pub live_changes: u64,
    /// The number of leaderships.
    pub leaderships: u64,
    /// The last record of each deployment, by application and number.
    pub deployments: BTreeMap<String, Deployment>,
    /// The problems.
    pub wrong: Vec<String>,
    /// The live slot and the leader after each change.
    pub story: Vec<String>,
}

/// Judges a history. `commits` has the revision of each commit that a server logged, with the leadership that fenced
/// the commit, if any.
#[must_use]
pub fn judge(history: &[Change], commits: &BTreeMap<i64, Option<i64>>) -> Judgement {
    let mut judged = Judgement::default();
    let mut leadership: Option<i64> = None;
    let mut live: BTreeMap<&str, Option<Slot>> = BTreeMap::new();
    for change in history {
        let at = change.revision;
        if change.key == LEADER {
            leadership = change.value.is_some().then_some(change.created);
            judged.leaderships += u64::from(change.value.is_some());
            let who = change.value.as_deref().map_or("nobody".into(), name);
            judged.story.push(format!("revision {at}: {who} leads"));
        } else if change.key.starts_with(DEPLOYMENTS) {
            let Some(value) = &change.value else { continue };
            match serde_json::from_slice::<Deployment>(value) {
                Ok(deployment) => drop(judged.deployments.insert(change.key.clone(), deployment)),
                Err(error) => judged.wrong.push(format!("revision {at}: {} cannot be read: {error}", change.key)),
            }
        } else if change.key.starts_with(APPLICATIONS) {
            let app = change.value.as_deref().map(serde_json::from_slice::<Application>);
            let app = match app.transpose() {
                Ok(app) => app,
                Err(error) => {
                    judged.wrong.push(format!("revision {at}: {} cannot be read: {error}", change.key));
                    continue;
                }
            };
            if let Some(app) = &app {
                judged.check(at, app);
            }
            let now = app.as_ref().and_then(|app| app.live);
            let before = live.insert(&change.key, now).flatten();
            if before != now {
                judged.live_changes += 1;
                judged.attribute(at, leadership, commits.get(&at).copied());
                let deployment = app.as_ref().and_then(|app| app.active.as_ref()).map(|claim| claim.deployment);
                let by = deployment.map_or_else(String::new, |number| format!(", deployment {number}"));
                judged.story.push(format!(
                    "revision {at}: live is {}{by}",
                    now.map_or("nothing".into(), |slot| slot.to_string())
                ));
            }
        }
    }
    judged
}

impl Judgement {
    /// Checks that at most one slot gets users' requests by the routes that follow from a record, and that the live
    /// slot has a release.
    fn check(&mut self, at: i64, app: &Application) {
        if app.live.is_some() && app.live_placement().is_none() {
            self.wrong.push(format!("revision {at}: the live slot is empty"));
        }
        let weighted = RouteGroup::derive(app).map_or(0, |group| {
            group.slots.iter().filter(|slot| slot.role == SlotRole::Live && slot.weight > 0).count()
        });
        if weighted > 1 {
            self.double_live += 1;
            self.wrong.push(format!("revision {at}: {weighted} slots are live"));
        }
    }

    fn attribute(&mut self, at: i64, leadership: Option<i64>, commit: Option<Option<i64>>) {
        match (leadership, commit) {
            (Some(leadership), Some(Some(by))) if leadership == by => {}
            (Some(_), None) => self.unanswered += 1,
            _ => {
                self.unfenced += 1;
                self.wrong.push(format!("revision {at}: {commit:?} changed the live slot while {leadership:?} led"));
            }
        }
    }
}

/// The name of the server in the value of its key.
pub(super) fn name(value: &[u8]) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_slice(value).ok();
    parsed.and_then(|member| member["name"].as_str().map(str::to_owned)).unwrap_or_else(|| "somebody".to_owned())
}

/// The commits in a server's log.
pub(super) fn commits(log: &str) -> BTreeMap<i64, Option<i64>> {
    let value = |line: &str, name: &str| -> Option<i64> {
        let rest = line.split_once(name)?.1;
        rest.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
    };
    let lines = log.lines().filter(|line| line.contains(" committed "));
    // A commit without a fence has no leadership.
    lines.filter_map(|line| Some((value(line, " revision=")?, value(line, " leadership=")))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gapless_core::application::{Idle, Placement};
    use gapless_core::spec::{Process, Workload};
    use gapless_core::{Artifacts, PlacementId, Spec};
    use std::sync::Arc;

    fn change(revision: i64, key: &str, value: impl Into<Vec<u8>>) -> Change {
        Change { revision, created: revision, key: key.to_owned(), value: Some(value.into()) }
    }

    fn leads(revision: i64, name: &str) -> Change {
        change(revision, LEADER, format!("{{\"name\":\"{name}\"}}"))
    }

    fn nobody_leads(revision: i64) -> Change {
        Change { value: None, ..leads(revision, "") }
    }

    /// A record with `live` as the live slot; both slots have a release, and the other slot has this canary share.
    fn app(live: Slot, share: Option<u8>) -> Vec<u8> {
        let key: gapless_core::AppKey = "shop/production".parse().unwrap();
        let command = vec!["/bin/true".to_owned()];
        let workload = Workload::Process(Process { command, directory: "/".to_owned(), user: None });
        let spec = Arc::new(Spec::new(key.clone(), workload, 9000));
        let placement = |slot: Slot| Placement {
            id: PlacementId { key: key.clone(), slot, deployment: 1 },
            release: 1,
            spec: spec.clone(),
            artifacts: Artifacts::default(),
            idle: Idle::Candidate,
            checked: true,
            was_routed: false,
            secret: String::new(),
            preview: None,
            parked: false,
            share: share.filter(|_| slot != live),
            replicas: Vec::new(),
        };
        let slots = [Slot::Blue, Slot::Green].map(|slot| (slot, placement(slot))).into();
        let app = Application { live: Some(live), slots, last_deployment: 1, last_release: 1, ..Application::new(key) };
        serde_json::to_vec(&app).unwrap()
    }

    const APP: &str = "/gapless/apps/shop/production";

    /// Two servers that lead one after another, and each make another slot live.
    fn two_leaders() -> [Change; 5] {
        [
            leads(3, "one"),
            change(5, APP, app(Slot::Blue, None)),
            nobody_leads(6),
            leads(7, "two"),
            change(9, APP, app(Slot::Green, None)),
        ]
    }

    #[test]
    fn leader_may_change_live_slot() {
        let history = two_leaders();
        let judged = judge(&history, &[(5, Some(3)), (9, Some(7))].into());
        assert!(judged.wrong.is_empty(), "{:?}", judged.wrong);
        assert_eq!((judged.live_changes, judged.leaderships, judged.unanswered), (2, 2, 0));
        assert_eq!(judge(&history, &[(5, Some(3))].into()).unanswered, 1);
    }

    #[test]
    fn judge_finds_change_without_leadership_or_fence() {
        let history = two_leaders();
        assert_eq!(judge(&history, &[(5, Some(3)), (9, Some(3))].into()).unfenced, 1, "deposed");
        assert_eq!(judge(&history, &[(5, None), (9, Some(7))].into()).unfenced, 1, "without a fence");
        let nobody = [change(5, APP, app(Slot::Blue, None))];
        assert_eq!(judge(&nobody, &BTreeMap::new()).unfenced, 1, "nobody leads");
    }

    #[test]
    fn judge_finds_two_live_slots() {
        let history = [leads(3, "one"), change(5, APP, app(Slot::Blue, Some(10)))];
        assert_eq!(judge(&history, &[(5, Some(3))].into()).double_live, 1);
    }

    #[test]
    fn commits_are_parsed_from_log() {
        let log = "2026-01-01T00:00:00Z DEBUG gapless_store::etcd: committed revision=12 leadership=3\n\
                   2026-01-01T00:00:00Z  INFO leading name=\"one\"\n\
                   2026-01-01T00:00:00Z DEBUG gapless_store::etcd: committed revision=13\n";
        assert_eq!(commits(log), [(12, Some(3)), (13, None)].into());
    }
}
