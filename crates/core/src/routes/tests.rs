//! The derivation of routes from the record of an application, case by case.

use super::*;
use crate::application::{Held, Maintenance};
use crate::spec::{HealthCheck, Process, Service, Workload};
use crate::strategy::{Canary, CanaryStep, Strategy};
use crate::{Artifacts, Slot, Spec, Timestamp};

fn spec() -> Spec {
    let command = vec!["/bin/shop".into()];
    let workload = Workload::Process(Process { command, directory: "/".into(), user: None });
    let mut spec = Spec::new("shop/production".parse().unwrap(), workload.clone(), 9000);
    let health = HealthCheck { path: None, ..HealthCheck::default() };
    spec.services.insert("worker".parse().unwrap(), Service { health, ..Service::new(workload, 0) });
    spec.routes = vec![Route {
        host: "shop.test".parse().unwrap(),
        path: Default::default(),
        strip: false,
        service: Default::default(),
    }];
    spec
}

/// A running placement that has passed its checks and is in rotation.
fn placement(slot: Slot, deployment: u64) -> Placement {
    let id = PlacementId { key: "shop/production".parse().unwrap(), slot, deployment };
    let mut placement = Placement::candidate(id, deployment, Arc::new(spec()), Artifacts::only("sha"));
    placement.checked = true;
    for (port, replica) in (4000..).zip(&mut placement.replicas) {
        replica.address = Some(SocketAddr::from(([127, 0, 0, 1], port)));
        replica.in_rotation = true;
    }
    placement
}

/// An application whose blue slot is live.
fn app() -> Application {
    let mut app = Application::new("shop/production".parse().unwrap());
    app.live = Some(Slot::Blue);
    app.slots.insert(Slot::Blue, placement(Slot::Blue, 1));
    app
}

/// An application with a canary of this share in its green slot.
fn with_canary(share: u8, choose: Choose) -> Application {
    let mut app = app();
    let mut green = placement(Slot::Green, 2);
    green.share = Some(share);
    green.secret = "key".into();
    let steps = vec![CanaryStep { weight: share, pause: None }];
    let canary = Canary { steps, choose, expires: Millis::from_secs(1) };
    green.spec = Arc::new(Spec { strategy: Strategy::Canary(canary), ..spec() });
    app.slots.insert(Slot::Green, green);
    app
}

fn slots(app: &Application) -> Vec<(u64, SlotRole, u32)> {
    let group = RouteGroup::derive(app).unwrap();
    group.slots.iter().map(|slot| (slot.placement.deployment, slot.role, slot.weight)).collect()
}

#[test]
fn derive_routes_all_requests_to_live_slot() {
    let group = RouteGroup::derive(&app()).unwrap();
    assert_eq!(slots(&app()), [(1, SlotRole::Live, 100)]);
    assert_eq!(group.routes, spec().routes);
    assert_eq!((group.split, group.hold, group.maintenance, group.preview), (None, None, None, None));
    let [slot] = &group.slots[..] else { panic!("not one slot: {:?}", group.slots) };
    assert_eq!((slot.release, slot.drain_timeout), (1, spec().timing.drain_timeout));
}

#[test]
fn derive_lists_only_instances_in_rotation_of_routed_services() {
    let instances = |change: fn(&mut Replica)| {
        let mut app = app();
        app.slots.get_mut(&Slot::Blue).unwrap().replicas.iter_mut().for_each(change);
        let group = RouteGroup::derive(&app).unwrap();
        group.slots[0].instances.iter().map(|backend| backend.service.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(instances(|_| {}), ["web"], "the worker has no routes");
    assert_eq!(instances(|replica| replica.in_rotation = false), [""; 0]);
    assert_eq!(instances(|replica| replica.address = None), [""; 0]);
}

#[test]
fn derive_is_none_without_live_slot() {
    assert_eq!(RouteGroup::derive(&Application::new("shop/production".parse().unwrap())), None);
    let mut first = app();
    first.live = None;
    assert_eq!(RouteGroup::derive(&first), None, "a candidate is not routed");
}

#[test]
fn derive_keeps_routes_without_slots_when_stopped() {
    for desired in [Desired::Stopped, Desired::Removed] {
        let group = RouteGroup::derive(&Application { desired, ..with_canary(20, Choose::Sticky) }).unwrap();
        assert_eq!((group.routes, group.slots, group.split), (spec().routes, vec![], None));
    }
}

#[test]
fn derive_splits_weight_between_live_slot_and_canary() {
    let canary = with_canary(20, Choose::Random);
    assert_eq!(slots(&canary), [(1, SlotRole::Live, 80), (2, SlotRole::Live, 20)]);
    assert_eq!(RouteGroup::derive(&canary).unwrap().split, None, "a random choice needs no split");
    assert_eq!(slots(&with_canary(200, Choose::Random)), [(1, SlotRole::Live, 0), (2, SlotRole::Live, 100)]);
    let mut unchecked = canary;
    unchecked.slots.get_mut(&Slot::Green).unwrap().checked = false;
    assert_eq!(slots(&unchecked), [(1, SlotRole::Live, 100)]);
}

#[test]
fn derive_splits_by_rule_and_key_of_canary() {
    let split = RouteGroup::derive(&with_canary(20, Choose::Sticky)).unwrap().split;
    let to = "shop/production/green/2".parse().unwrap();
    assert_eq!(split, Some(Split { to, by: Choose::Sticky, key: "key".into() }));
}

#[test]
fn derive_adds_old_slot_as_fallback_without_weight() {
    let with = |idle, checked| {
        let mut app = app();
        app.slots.insert(Slot::Green, Placement { idle, checked, ..placement(Slot::Green, 2) });
        slots(&app)
    };
    assert_eq!(with(Idle::Fallback, true), [(1, SlotRole::Live, 100), (2, SlotRole::Fallback, 0)]);
    for (idle, checked) in [
        (Idle::Fallback, false),
        (Idle::Candidate, true),
        (Idle::Candidate, false),
        (Idle::Standby { until: Timestamp(9), park: true }, true),
    ] {
        assert_eq!(with(idle, checked), [(1, SlotRole::Live, 100)], "{idle:?}, checked: {checked}");
    }
}

#[test]
fn derive_adds_checked_candidate_as_preview() {
    let with = |live, checked| {
        let mut app = app();
        app.live = live;
        let preview = Some("token".to_owned());
        app.slots.insert(Slot::Green, Placement { preview, checked, ..placement(Slot::Green, 2) });
        RouteGroup::derive(&app)
    };
    let group = with(Some(Slot::Blue), true).unwrap();
    let preview = group.preview.as_ref().unwrap();
    assert_eq!((preview.token.as_str(), preview.slot.placement.deployment), ("token", 2));
    assert_eq!(group.slots.len(), 1, "only requests with the token reach it");
    assert_eq!(group.placements().map(|slot| slot.placement.deployment).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(with(Some(Slot::Blue), false).unwrap().preview, None);
    assert_eq!(with(Some(Slot::Green), true).unwrap().preview, None, "the live slot needs no token");
    // The first release of an application.
    let first = with(None, true).unwrap();
    assert_eq!((first.routes, first.slots), (spec().routes, vec![]));
    assert_eq!(first.preview.unwrap().slot.placement.deployment, 2);
    assert_eq!(with(None, false), None);
}

#[test]
fn derive_adds_hold_and_maintenance_of_record() {
    let settings = spec().hold;
    let held = Some(Held { since: Timestamp(1), settings: settings.clone() });
    let page =
        |page: Option<&str>| Some(Maintenance { since: Timestamp(1), by: "x".into(), page: page.map(str::to_owned) });
    let group = RouteGroup::derive(&Application { hold: held, maintenance: page(Some("own")), ..app() }).unwrap();
    assert_eq!(group.hold, Some(settings));
    let maintenance = group.maintenance.unwrap();
    assert_eq!(maintenance.page.as_deref(), Some("own"));
    // The worker has no health check path.
    let path = spec().services[&ServiceName::default()].health.path.clone().unwrap();
    assert_eq!(maintenance.health_paths, [path]);
    let mut app = Application { maintenance: page(None), ..app() };
    let forward = ForwardSettings { maintenance_page: Some("the release's".into()), ..ForwardSettings::default() };
    app.slots.get_mut(&Slot::Blue).unwrap().spec = Arc::new(Spec { forward, ..spec() });
    let maintenance = RouteGroup::derive(&app).unwrap().maintenance.unwrap();
    assert_eq!(maintenance.page.as_deref(), Some("the release's"));
}

#[test]
fn table_change_applies_difference() {
    let key = |name: &str| -> AppKey { format!("{name}/production").parse().unwrap() };
    let group = Arc::new(RouteGroup::derive(&app()).unwrap());
    let other = Arc::new(RouteGroup::derive(&with_canary(20, Choose::Random)).unwrap());
    let mut table = RouteTable { version: 1, groups: [(key("a"), group.clone()), (key("b"), group.clone())].into() };
    let groups = [(key("a"), None), (key("b"), Some(other.clone())), (key("c"), Some(group.clone()))].into();
    table.change(&RouteChange { base: 1, version: 5, groups });
    assert_eq!(table, RouteTable { version: 5, groups: [(key("b"), other), (key("c"), group)].into() });
}

#[test]
fn application_owns_hosts_of_placements_and_claims() {
    let claim =
        |deployment, host: &str| crate::application::Claim { deployment, hosts: [host.parse().unwrap()].into() };
    let app = Application { active: Some(claim(2, "new.test")), queue: vec![claim(3, "next.test")], ..app() };
    let hosts: Vec<String> = app.hosts().iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["new.test", "next.test", "shop.test"]);
}

#[test]
fn placement_of_finds_placements_in_slots_and_leaving() {
    let mut app = app();
    app.leaving.push(placement(Slot::Green, 0));
    for id in ["shop/production/blue/1", "shop/production/green/0"] {
        let id: PlacementId = id.parse().unwrap();
        let found = app.placement_of(&id.instance(&ServiceName::default(), 1)).map(|placement| &placement.id);
        assert_eq!(found, Some(&id));
    }
    let other: PlacementId = "shop/production/blue/7".parse().unwrap();
    assert!(app.placement_of(&other.instance(&ServiceName::default(), 1)).is_none());
    let names: Vec<String> = app.slots[&Slot::Blue].instances().map(|name| name.service.to_string()).collect();
    assert_eq!(names, ["web", "worker"]);
    assert!(app.slots[&Slot::Blue].service(&"worker".parse().unwrap()).is_some_and(|worker| worker.port == 0));
    assert!(app.slots[&Slot::Blue].service(&"none".parse().unwrap()).is_none());
}

#[test]
fn vacate_moves_placement_to_leaving_and_clears_live() {
    let mut app = app();
    app.vacate(Slot::Green);
    assert_eq!((app.live, app.leaving.len()), (Some(Slot::Blue), 0), "the slot was empty");
    assert_eq!(app.idle_slot(), Slot::Green);
    app.vacate(Slot::Blue);
    assert_eq!((app.live, app.leaving.len(), app.slots.len()), (None, 1, 0));
    assert_eq!(app.idle_slot(), Slot::Blue);
}
