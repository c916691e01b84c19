//! Hooks and migrations: once each, in their order, and what a rollback makes of them; maintenance.

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

/// A world in which release 1 is live, and what comes has those hooks.
fn world(hooks: Vec<Hook>) -> World {
    let mut world = World::live(1);
    world.hooks = hooks;
    world
}

#[test]
fn hooks_are_done_once_each_at_their_points_and_in_their_order() {
    let mut world = world(every_point());
    let number = world.deploy(1);
    world.go_on_until_over();
    assert_eq!(world.deployments[&number].phase.name(), "succeeded");
    assert_eq!(world.hooks_run, ["start", "cut-one", "cut-two", "held", "over", "done"]);
    let reports = &world.deployments[&number].hooks;
    assert!(reports.iter().all(|report| report.result.is_some() && report.until.is_some()), "{reports:?}");
}

#[test]
fn a_hook_that_fails_ends_the_deployment_and_what_is_for_failures_is_done() {
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
        world.go_on_until_over();
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
fn a_hook_that_ran_when_the_server_died_is_not_begun_again() {
    let mut world = world(vec![hook("once", HookPoint::BeforeCutover, None)]);
    let number = world.deploy(1);
    world.go_on_until_phase(number, "migrating");
    let actions = world.settle();
    assert!(actions.contains(&Action::RunHook("once".into())), "{actions:?}");
    world.facts.server = "another run".into();
    world.go_on_until_over();
    let Phase::Ended(Outcome::Failed(reason)) = &world.deployments[&number].phase else { panic!("it goes on") };
    assert!(reason.message.contains("not known"), "{reason:?}");
    assert_eq!(world.hooks_run, Vec::<String>::new());
}

#[test]
fn a_hook_whose_point_is_past_is_ended_and_what_is_for_failures_is_done() {
    let mut world = world(vec![hook("slow", HookPoint::AfterCutover, None), hook("tell", HookPoint::OnFailure, None)]);
    let number = world.deploy(1);
    world.go_on_until_phase(number, "observing");
    assert!(world.settle().contains(&Action::RunHook("slow".into())));
    let name = world.app.live_placement().unwrap().id.instance(&ServiceName::default(), 1);
    world.exit(&name);
    assert!(!world.settle().contains(&Action::RunHook("slow".into())), "it would run on");
    world.go_on_until_over();
    assert_eq!((world.deployments[&number].phase.name(), world.hooks_run.join(" ")), ("reverted", "tell".into()));
}

#[test]
fn requests_are_held_until_those_before_are_finished_and_let_go_with_the_cutover() {
    let before = hook("before", HookPoint::BeforeCutover, None);
    let mut world = world(vec![before, hook("schema", HookPoint::Held, Some(Migration::default()))]);
    let number = world.deploy(1);
    world.go_on_until_phase(number, "migrating");
    let actions = world.settle();
    assert!(RouteGroup::derive(&world.app).unwrap().hold.is_none(), "not for what needs no hold");
    world.obey(&actions);
    world.settle();
    world.apply_routes();
    assert!(RouteGroup::derive(&world.app).unwrap().hold.is_some());
    let old = world.app.live_placement().unwrap().id.clone();
    world.facts.planes[0].view.as_mut().unwrap().in_flight = Some([(old, 1)].into());
    let actions = world.settle();
    assert!(!actions.iter().any(|action| matches!(action, Action::RunHook(_))), "one is in flight: {actions:?}");
    world.apply_routes();
    let actions = world.settle();
    assert!(actions.contains(&Action::RunHook("schema".into())), "{actions:?}");
    world.obey(&actions);
    let Step::Commit(next) = step(&world.state(), &world.facts) else { panic!("nothing happens") };
    let group = RouteGroup::derive(&next.app).unwrap();
    assert!(group.hold.is_none() && group.slots[0].release == 2, "let go and cut over in one change: {group:?}");
    world.go_on_until_over();
    assert_eq!(world.deployments[&number].phase.name(), "succeeded");
}

#[test]
fn a_hold_does_not_last_longer_than_it_may() {
    let mut world = world(vec![hook("schema", HookPoint::Held, None)]);
    let number = world.deploy(1);
    world.go_on_until_phase(number, "migrating");
    world.settle();
    world.apply_routes();
    world.settle();
    world.facts.now = world.facts.now.after(Millis::from_secs(30));
    world.settle();
    assert!(RouteGroup::derive(&world.app).unwrap().hold.is_none());
    world.go_on_until_over();
    assert_eq!(world.deployments[&number].phase.name(), "failed");
}

#[test]
fn a_rollback_past_a_migration_undoes_it_or_has_to_be_forced() {
    let back =
        Migration { back: Some(HookRun::Command(GateCommand { command: vec!["/bin/back".into()], user: None })) };
    let mut with_a_way = world(vec![hook("schema", HookPoint::BeforeCutover, Some(back))]);
    with_a_way.deploy(1);
    with_a_way.go_on_until_over();
    assert!(command::rollback(&with_a_way.app, None, None, false).is_ok());
    with_a_way.hooks_run.clear();
    with_a_way.facts.hooks.clear();
    with_a_way.rollback();
    with_a_way.go_on_until_over();
    assert_eq!(with_a_way.hooks_run, ["back-schema"]);
    assert_eq!(with_a_way.app.live_placement().unwrap().release, 1);
    assert!(with_a_way.app.migrations.is_empty(), "it is undone");

    let mut without = world(vec![hook("schema", HookPoint::BeforeCutover, Some(Migration::default()))]);
    without.deploy(1);
    without.go_on_until_over();
    let refused = command::rollback(&without.app, None, None, false);
    assert!(matches!(&refused, Err(CommandError::PastMigration { migrations, .. }) if migrations == &["schema"]));
    assert!(command::rollback(&without.app, None, None, true).is_ok());
}

#[test]
fn a_revert_past_a_migration_says_that_it_stays() {
    let mut world = world(vec![hook("schema", HookPoint::BeforeCutover, Some(Migration::default()))]);
    let number = world.deploy(1);
    world.go_on_until_phase(number, "observing");
    let name = world.app.live_placement().unwrap().id.instance(&ServiceName::default(), 1);
    world.exit(&name);
    world.go_on_until_over();
    let Phase::Ended(Outcome::Reverted(reason)) = &world.deployments[&number].phase else { panic!("not reverted") };
    assert!(reason.message.contains("migrations that stay carried out: schema"), "{reason:?}");
}

#[test]
fn a_migration_that_failed_and_a_hook_that_is_none_are_not_said_to_stay() {
    let hooks = vec![hook("tell", HookPoint::BeforeStart, None), hook("schema", HookPoint::BeforeCutover, None)];
    for (schema, do_hooks_pass) in [(Some(Migration::default()), false), (None, true)] {
        let mut hooks = hooks.clone();
        hooks[1].migration = schema;
        let mut world = world(hooks);
        let number = world.deploy(1);
        world.go_on_until_phase(number, "migrating");
        world.do_hooks_pass = do_hooks_pass;
        for _ in 0..3 {
            let actions = world.settle();
            world.obey(&actions);
        }
        let by = world.by();
        // Too late where it has failed.
        let _ = command::abort(world.deployments.get_mut(&number).unwrap(), "aborted", &by);
        world.go_on_until_over();
        let told = format!("{:?}", world.deployments[&number].phase);
        assert!(!told.contains("stay carried out"), "{told}");
    }
}

#[test]
fn maintenance_is_in_the_routes_and_stops_nothing() {
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
