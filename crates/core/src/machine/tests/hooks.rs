//! Hooks and migrations: each runs once, in order, and a rollback undoes migrations; maintenance mode.

use super::*;
use crate::command::CommandError;
use crate::gate::GateCommand;
use crate::hook::{HookPoint, HookRun, Migration};

pub(super) fn hook(name: &str, at: HookPoint, migration: Option<Migration>) -> Hook {
    let run = HookRun::Command(GateCommand { command: vec!["/bin/true".into()], user: None });
    Hook { name: name.into(), at, run, timeout: Millis::from_secs(10), migration }
}

pub(super) fn every_point() -> Vec<Hook> {
    vec![
        hook("held", HookPoint::Held, Some(Migration::default())),
        hook("failed", HookPoint::OnFailure, None),
        hook("start", HookPoint::BeforeStart, None),
        hook("cut-one", HookPoint::BeforeCutover, None),
        hook("cut-two", HookPoint::BeforeCutover, None),
        hook("over", HookPoint::AfterCutover, None),
        hook("done", HookPoint::AfterSuccess, None),
    ]
}

/// A world in which release 1 is live, and the next releases have these hooks.
fn world(hooks: Vec<Hook>) -> World {
    let mut world = World::live(1);
    world.hooks = hooks;
    world
}

#[test]
fn hooks_run_once_at_their_points_in_order() {
    let mut world = world(every_point());
    let number = world.deploy(1);
    world.run_until_done();
    assert_eq!(world.deployments[&number].phase.name(), "succeeded");
    assert_eq!(world.hooks_run, ["start", "cut-one", "cut-two", "held", "over", "done"]);
    let reports = &world.deployments[&number].hooks;
    assert!(reports.iter().all(|report| report.result.is_some() && report.until.is_some()), "{reports:?}");
}

#[test]
fn failed_hook_ends_deployment_and_runs_hooks_on_failure() {
    for (at, phase) in [
        (HookPoint::BeforeStart, "failed"),
        (HookPoint::BeforeCutover, "failed"),
        (HookPoint::Held, "failed"),
        (HookPoint::AfterCutover, "reverted"),
        (HookPoint::AfterSuccess, "succeeded"),
    ] {
        let mut world = world(vec![hook("bad", at, None), hook("clean-up", HookPoint::OnFailure, None)]);
        world.do_hooks_pass = false;
        let number = world.deploy(1);
        world.run_until_done();
        let deployment = &world.deployments[&number];
        assert_eq!(deployment.phase.name(), phase, "{at:?}");
        assert_eq!(world.app.hold, None);
        match &deployment.phase {
            Phase::Ended(Outcome::Failed(reason) | Outcome::Reverted(reason)) => {
                assert!(
                    reason.cause == Cause::Hook && reason.message.contains("bad") && reason.message.contains("a line")
                );
                assert_eq!(world.hooks_run, ["bad", "clean-up"]);
                assert_eq!(world.app.live_placement().unwrap().release, 1);
            }
            Phase::Ended(Outcome::Succeeded { warning }) => assert!(warning.as_ref().unwrap().contains("bad")),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn interrupted_hook_is_not_started_again() {
    let mut world = world(vec![hook("once", HookPoint::BeforeCutover, None)]);
    let number = world.deploy(1);
    world.run_until_phase(number, "migrating");
    let actions = world.settle();
    assert!(actions.contains(&Action::RunHook("once".into())), "{actions:?}");
    world.facts.server = "another run".into();
    world.run_until_done();
    let Phase::Ended(Outcome::Failed(reason)) = &world.deployments[&number].phase else { panic!("not failed") };
    assert!(reason.message.contains("not known"), "{reason:?}");
    assert_eq!(world.hooks_run, Vec::<String>::new());
}

#[test]
fn hook_is_stopped_when_its_phase_is_over() {
    let mut world =
        world(vec![hook("slow", HookPoint::AfterCutover, None), hook("notify", HookPoint::OnFailure, None)]);
    let number = world.deploy(1);
    world.run_until_phase(number, "observing");
    assert!(world.settle().contains(&Action::RunHook("slow".into())));
    let name = world.app.live_placement().unwrap().id.instance(&ServiceName::default(), 1);
    world.exit(&name);
    assert!(!world.settle().contains(&Action::RunHook("slow".into())), "the hook keeps running");
    world.run_until_done();
    assert_eq!((world.deployments[&number].phase.name(), world.hooks_run.join(" ")), ("reverted", "notify".into()));
}

#[test]
fn hold_waits_for_earlier_requests_and_ends_with_cutover() {
    let before = hook("before", HookPoint::BeforeCutover, None);
    let mut world = world(vec![before, hook("schema", HookPoint::Held, Some(Migration::default()))]);
    let number = world.deploy(1);
    world.run_until_phase(number, "migrating");
    let actions = world.settle();
    assert!(RouteGroup::derive(&world.app).unwrap().hold.is_none(), "the first hook needs no hold");
    world.carry_out(&actions);
    world.settle();
    world.apply_routes();
    assert!(RouteGroup::derive(&world.app).unwrap().hold.is_some());
    let old = world.app.live_placement().unwrap().id.clone();
    world.facts.planes[0].view.as_mut().unwrap().in_flight = Some([(old, 1)].into());
    let actions = world.settle();
    assert!(!actions.iter().any(|action| matches!(action, Action::RunHook(_))), "a request is in flight: {actions:?}");
    world.apply_routes();
    let actions = world.settle();
    assert!(actions.contains(&Action::RunHook("schema".into())), "{actions:?}");
    world.carry_out(&actions);
    let Step::Commit(next) = step(&world.state(), &world.facts) else { panic!("the end of the hook has no effect") };
    let group = RouteGroup::derive(&next.app).unwrap();
    assert!(group.hold.is_none() && group.slots[0].release == 2, "the cutover lifts the hold: {group:?}");
    world.run_until_done();
    assert_eq!(world.deployments[&number].phase.name(), "succeeded");
}

#[test]
fn hold_ends_at_its_timeout() {
    let mut world = world(vec![hook("schema", HookPoint::Held, None)]);
    let number = world.deploy(1);
    world.run_until_phase(number, "migrating");
    world.settle();
    world.apply_routes();
    world.settle();
    world.facts.now = world.facts.now.after(Millis::from_secs(30));
    world.settle();
    assert!(RouteGroup::derive(&world.app).unwrap().hold.is_none());
    world.run_until_done();
    assert_eq!(world.deployments[&number].phase.name(), "failed");
}

#[test]
fn rollback_past_migration_undoes_it_or_needs_force() {
    let back =
        Migration { back: Some(HookRun::Command(GateCommand { command: vec!["/bin/back".into()], user: None })) };
    let mut undoable = world(vec![hook("schema", HookPoint::BeforeCutover, Some(back))]);
    undoable.deploy(1);
    undoable.run_until_done();
    assert!(command::rollback(&undoable.app, None, None, false).is_ok());
    undoable.hooks_run.clear();
    undoable.facts.hooks.clear();
    undoable.rollback();
    undoable.run_until_done();
    assert_eq!(undoable.hooks_run, ["back-schema"]);
    assert_eq!(undoable.app.live_placement().unwrap().release, 1);
    assert!(undoable.app.migrations.is_empty(), "the migration is undone");

    let mut without = world(vec![hook("schema", HookPoint::BeforeCutover, Some(Migration::default()))]);
    without.deploy(1);
    without.run_until_done();
    let refused = command::rollback(&without.app, None, None, false);
    assert!(matches!(&refused, Err(CommandError::PastMigration { migrations, .. }) if migrations == &["schema"]));
    assert!(command::rollback(&without.app, None, None, true).is_ok());
}

#[test]
fn revert_past_migration_reports_it_as_not_undone() {
    let mut world = world(vec![hook("schema", HookPoint::BeforeCutover, Some(Migration::default()))]);
    let number = world.deploy(1);
    world.run_until_phase(number, "observing");
    let name = world.app.live_placement().unwrap().id.instance(&ServiceName::default(), 1);
    world.exit(&name);
    world.run_until_done();
    let Phase::Ended(Outcome::Reverted(reason)) = &world.deployments[&number].phase else { panic!("not reverted") };
    assert!(reason.message.contains("migrations that are not undone: schema"), "{reason:?}");
}

#[test]
fn failed_migration_and_plain_hook_are_not_reported_as_not_undone() {
    let hooks = vec![hook("notify", HookPoint::BeforeStart, None), hook("schema", HookPoint::BeforeCutover, None)];
    for (schema, do_hooks_pass) in [(Some(Migration::default()), false), (None, true)] {
        let mut hooks = hooks.clone();
        hooks[1].migration = schema;
        let mut world = world(hooks);
        let number = world.deploy(1);
        world.run_until_phase(number, "migrating");
        world.do_hooks_pass = do_hooks_pass;
        for _ in 0..3 {
            let actions = world.settle();
            world.carry_out(&actions);
        }
        let by = world.by();
        // Refused if the deployment has failed already.
        let _ = command::abort(world.deployments.get_mut(&number).unwrap(), "aborted", &by);
        world.run_until_done();
        let phase = format!("{:?}", world.deployments[&number].phase);
        assert!(!phase.contains("not undone"), "{phase}");
    }
}

#[test]
fn maintenance_changes_routes_and_stops_no_instance() {
    let mut world = world(Vec::new());
    let by = world.by();
    command::begin_maintenance(&mut world.app, Some("<h1>Soon</h1>".into()), &by).unwrap();
    assert!(command::begin_maintenance(&mut world.app, None, &by).is_err());
    let route = RouteGroup::derive(&world.app).unwrap().maintenance.unwrap();
    assert_eq!((route.page.as_deref(), route.health_paths), (Some("<h1>Soon</h1>"), vec!["/up".to_owned()]));
    world.settle();
    assert_eq!(world.app.live_placement().unwrap().release, 1);
    command::end_maintenance(&mut world.app).unwrap();
    assert!(command::end_maintenance(&mut world.app).is_err());
    assert!(RouteGroup::derive(&world.app).unwrap().maintenance.is_none());
}
