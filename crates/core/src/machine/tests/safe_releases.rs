//! Gates, approvals and promotions.

use super::Submission;
use super::{World, spec};
use crate::Spec;
use crate::application::Application;
use crate::command;
use crate::deployment::{Cause, Outcome, Phase};
use crate::gate::{Gate, GateCommand, GateKind};
use crate::spec::ApprovalRule;
use crate::{Action, AppKey, Artifacts, Millis, RouteGroup};
use std::sync::Arc;

fn gate(name: &str, parallel: bool, retries: u16) -> Gate {
    let kind = GateKind::Command(GateCommand { command: vec!["/bin/true".to_owned()], user: None });
    Gate { name: name.to_owned(), kind, timeout: Millis::from_secs(1), retries, parallel }
}

/// Two gates in parallel, a gate after them, and one approval.
pub(super) fn demanding() -> (Vec<Gate>, Option<ApprovalRule>) {
    let gates = vec![gate("a", false, 0), gate("b", true, 1), gate("c", false, 0)];
    (gates, Some(ApprovalRule { people: 1, by_others: false, expires: Millis::from_secs(60) }))
}

fn gates_asked_for(actions: &[Action]) -> Vec<(&str, u16)> {
    let gates = actions.iter().filter_map(|action| match action {
        Action::RunGate { name, attempt } => Some((name.as_str(), *attempt)),
        _ => None,
    });
    gates.collect()
}

#[test]
fn gates_run_in_groups_against_preview_before_approval() {
    let mut world = World::new();
    world.deploy(1);
    world.run_until_done();
    (world.gates, world.approval) = demanding();
    let second = world.deploy(1);
    world.run_until_phase(second, "testing");
    // No gate runs until every data plane routes the token: a test would reach the live slot.
    assert_eq!(gates_asked_for(&world.settle()), []);
    world.apply_routes();
    let actions = world.settle();
    assert_eq!(gates_asked_for(&actions), [("a", 1), ("b", 1)]);
    let group = RouteGroup::derive(&world.app).unwrap();
    assert_eq!(group.preview.as_ref().map(|preview| preview.token.as_str()), Some("token"));
    assert_eq!(group.slots.len(), 1, "only requests with the token reach it");
    world.carry_out(&actions);
    let actions = world.settle();
    assert_eq!(gates_asked_for(&actions), [("c", 1)]);
    world.carry_out(&actions);
    world.settle();
    assert_eq!(world.deployments[&second].phase, Phase::Approving);
    assert_eq!(world.app.live, Some(crate::Slot::Blue));

    let by = world.by();
    let rule = world.approval.clone();
    let deployment = world.deployments.get_mut(&second).unwrap();
    command::approve(deployment, rule.as_ref(), &by).unwrap();
    assert!(command::approve(deployment, rule.as_ref(), &by).is_err(), "a second approval by the same person");
    world.settle();
    assert_eq!(world.app.live, Some(crate::Slot::Green));
    assert_eq!(RouteGroup::derive(&world.app).unwrap().preview, None);
}

/// A deployment that waits for its gates or for approvals.
fn waiting(phase: &str) -> (World, u64) {
    let mut world = World::live(1);
    match phase {
        "testing" => world.gates = demanding().0,
        _ => world.approval = demanding().1,
    }
    let number = world.deploy(1);
    world.run_until_phase(number, phase);
    world.apply_routes();
    (world, number)
}

#[test]
fn passed_gate_does_not_pass_others() {
    let (mut world, number) = waiting("testing");
    let actions = world.settle();
    assert_eq!(gates_asked_for(&actions), [("a", 1), ("b", 1)]);
    world.carry_out(&actions[..1]);
    assert_eq!(gates_asked_for(&actions[..1]), [("a", 1)]);
    world.settle();
    assert_eq!(world.deployments[&number].phase.name(), "testing");
    assert_eq!(world.deployments[&number].gates.len(), 1);
}

#[test]
fn waiting_deployment_ends_when_aborted_or_instance_exits() {
    for phase in ["testing", "approving"] {
        let (mut world, number) = waiting(phase);
        let by = world.by();
        command::abort(world.deployments.get_mut(&number).unwrap(), "aborted", &by).unwrap();
        world.settle();
        assert_eq!(world.deployments[&number].phase.name(), "cancelled");

        let (mut world, number) = waiting(phase);
        let candidate = world.app.slots[&world.app.idle_slot()].instances().next().unwrap();
        world.exit(&candidate);
        world.settle();
        let Phase::Ended(Outcome::Failed(reason)) = &world.deployments[&number].phase else { panic!("not failed") };
        assert_eq!((reason.cause, world.app.live), (Cause::Exited, Some(crate::Slot::Blue)));
    }
}

#[test]
fn gate_fails_deployment_after_its_last_retry() {
    let mut world = World::new();
    world.gates = vec![gate("flaky", false, 1)];
    world.do_gates_pass = false;
    let number = world.deploy(1);
    world.run_until_phase(number, "testing");
    world.apply_routes();
    let actions = world.settle();
    world.carry_out(&actions);
    let actions = world.settle();
    assert_eq!(gates_asked_for(&actions), [("flaky", 2)]);
    world.carry_out(&actions);
    world.settle();
    let Phase::Ended(Outcome::Failed(reason)) = &world.deployments[&number].phase else { panic!("not failed") };
    assert!(reason.cause == Cause::Gate && reason.message.contains("flaky"), "{reason:?}");
    assert_eq!(world.app.live, None);
}

#[test]
fn deployment_fails_when_approval_expires_or_is_refused() {
    for is_refused in [true, false] {
        let mut world = World::new();
        world.approval = demanding().1;
        let number = world.deploy(1);
        world.run_until_phase(number, "approving");
        world.apply_routes();
        if is_refused {
            let by = world.by();
            command::reject(world.deployments.get_mut(&number).unwrap(), "not today", &by).unwrap();
        } else {
            world.facts.now = world.facts.now.after(Millis::from_secs(61));
        }
        world.settle();
        let Phase::Ended(Outcome::Failed(reason)) = &world.deployments[&number].phase else { panic!("not failed") };
        let expected = if is_refused { Cause::Rejected } else { Cause::Expired };
        assert_eq!((reason.cause, world.app.live), (expected, None));
        let by = world.by();
        assert!(command::approve(world.deployments.get_mut(&number).unwrap(), None, &by).is_err(), "too late");
    }
}

#[test]
fn promote_requires_success_in_other_environments() {
    let mut test = World::new();
    let by = test.by();
    let number = test.deploy(1);
    test.run_until_phase(number, "observing");
    let proven = |world: &World| command::proven(&world.app, world.deployments.get(&number));
    assert!(proven(&test).is_err(), "the deployment may still be reverted");
    test.run_until_done();
    let proven = proven(&test).unwrap();

    let key: AppKey = "shop/live".parse().unwrap();
    let mut wanted = (*spec(1)).clone();
    (wanted.env, wanted.requires) = (key.env.clone(), vec!["production".parse().unwrap()]);
    let mut app = Application::new(key.clone());
    let alone = command::deploy(&mut app, Arc::new(wanted.clone()), Vec::new(), false, &by).unwrap_err();
    assert!(alone.to_string().contains("gapless promote --from production --to live"), "{alone}");
    let submission = command::promote(&mut app, &wanted, Vec::new(), std::slice::from_ref(&proven), &by).unwrap();
    assert_eq!(submission.release.artifacts, Some(Artifacts::only("sha256:1")));

    wanted.requires.push("staging".parse().unwrap());
    let other = command::Proven { artifacts: Artifacts::only("sha256:2"), ..proven.clone() };
    let other =
        command::Proven { origin: crate::release::Origin { env: "staging".parse().unwrap(), release: 9 }, ..other };
    assert!(
        command::promote(&mut app, &wanted, Vec::new(), &[proven, other], &by).is_err(),
        "another release is live in staging"
    );
}

#[test]
fn successful_release_asks_for_promotion_until_done() {
    let mut world = World::new();
    let here = world.app.key.env.clone();
    let next = |env: &str, requires: Vec<crate::EnvName>| {
        Arc::new(Spec { env: env.parse().unwrap(), requires, promote_auto: true, ..(*spec(1)).clone() })
    };
    let then = vec![next("staging", vec![here]), next("later", vec!["staging".parse().unwrap()])];
    let by = world.by();
    let Submission { release, deployment, .. } = command::deploy(&mut world.app, spec(1), then, true, &by).unwrap();
    world.releases.insert(1, release);
    world.deployments.insert(1, deployment);
    world.run_until_done();
    let asked: Vec<_> = world.settle().into_iter().filter(|action| matches!(action, Action::Promote(_))).collect();
    let [Action::Promote(promotion)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((promotion.to.as_str(), promotion.release), ("staging", 1));
    command::end_promotion(&mut world.app, promotion);
    assert!(!world.settle().iter().any(|action| matches!(action, Action::Promote(_))));
}
