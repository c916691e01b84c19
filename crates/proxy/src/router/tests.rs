//! The router against a plain reading of its rules.

use super::*;
use gapless_core::Millis;
use gapless_core::routes::{Backend, SlotRoute};
use gapless_core::spec::ForwardSettings;
use gapless_core::spec::Route;
use proptest::prelude::*;

const HOSTS: [&str; 8] =
    ["a.test", "b.test", "x.a.test", "*.test", "*.a.test", "*.x.a.test", "*", "very-long-name.example.com"];
const PATHS: [&str; 6] = ["/", "/a", "/a/b", "/ab", "/a/b/c", "/b"];
const ASKED_HOSTS: [&str; 9] =
    ["a.test", "b.test", "c.test", "x.a.test", "y.a.test", "z.x.a.test", "test", "q", "very-long-name.example.com"];
const ASKED_PATHS: [&str; 9] = ["/", "/a", "/a/", "/a/b", "/a/bc", "/ab", "/abc", "/a/b/c/d", "*"];

fn key(app: usize) -> AppKey {
    AppKey::new(format!("app-{app}").parse().unwrap(), "production".parse().unwrap())
}

fn group(app: usize, routes: &[(usize, usize, bool)]) -> RouteGroup {
    let routes = routes.iter().map(|(host, path, strip)| Route {
        host: HOSTS[*host].parse().unwrap(),
        path: PATHS[*path].parse().unwrap(),
        strip: *strip,
        service: Default::default(),
    });
    let slot = SlotRoute {
        placement: format!("{}/blue/{app}", key(app)).parse().unwrap(),
        release: 1,
        role: SlotRole::Live,
        weight: 1,
        instances: vec![Backend { service: Default::default(), replica: 1, address: "127.0.0.1:1".parse().unwrap() }],
        drain_timeout: Millis(1),
    };
    RouteGroup {
        routes: routes.collect(),
        slots: vec![slot],
        split: None,
        forward: ForwardSettings::default(),
        hold: None,
        maintenance: None,
        preview: None,
    }
}

fn find_placement() -> impl FnMut(&PlacementId) -> Arc<Placement> {
    let mut known = HashMap::new();
    move |id| Arc::clone(known.entry(id.clone()).or_insert_with(|| Placement::new(id.clone(), 2)))
}

/// What the rules say, read one after the other: which application, and the length of the prefix that matched.
fn reference(table: &RouteTable, host: &str, path: &str) -> Option<(Vec<AppKey>, usize)> {
    let routes = || table.groups.iter().flat_map(|(key, group)| group.routes.iter().map(move |route| (key, route)));
    let is_under = |suffix: &str| host.strip_suffix(suffix).and_then(|rest| rest.strip_suffix('.'));
    let exact: Vec<_> = routes().filter(|(_, route)| route.host.as_str() == host).collect();
    let wildcard: Vec<_> = routes()
        .filter(|(_, route)| {
            let label = route.host.wildcard_suffix().and_then(is_under);
            label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
        })
        .collect();
    let any: Vec<_> = routes().filter(|(_, route)| route.host.is_any()).collect();
    let of_host = [exact, wildcard, any].into_iter().find(|routes| !routes.is_empty())?;
    let longest =
        of_host.iter().filter(|(_, route)| route.path.matches(path)).map(|(_, r)| r.path.as_str().len()).max()?;
    let best = of_host.iter().filter(|(_, r)| r.path.matches(path) && r.path.as_str().len() == longest);
    Some((best.map(|(key, _)| (*key).clone()).collect(), longest))
}

fn check(routes: &Routes, table: &RouteTable) -> Result<(), TestCaseError> {
    for host in ASKED_HOSTS {
        for path in ASKED_PATHS {
            let found = routes.find(host, path);
            let expected = reference(table, host, path);
            match (found, expected) {
                (None, None) => {}
                (Some((group, strip)), Some((keys, longest))) => {
                    prop_assert!(keys.contains(&group.slots[0].placement.id.key), "{host}{path}");
                    prop_assert!(strip == 0 || strip == longest, "{host}{path}: {strip}");
                }
                (found, expected) => prop_assert!(false, "{host}{path}: {} {expected:?}", found.is_some()),
            }
        }
    }
    Ok(())
}

type Step = Vec<(usize, Option<Vec<(usize, usize, bool)>>)>;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let route = (0..HOSTS.len(), 0..PATHS.len(), any::<bool>());
    let group = proptest::option::weighted(0.8, proptest::collection::vec(route, 0..4));
    proptest::collection::vec(proptest::collection::vec((0_usize..5, group), 1..4), 1..6)
}

proptest! {
    #[test]
    fn a_table_changed_step_by_step_routes_as_its_rules_say(steps in steps()) {
        let mut find = find_placement();
        let mut table = RouteTable::default();
        let mut routes = Routes::default();
        for (version, step) in (1..).zip(steps) {
            let mut changes = GroupChanges::new();
            for (app, wanted) in step {
                let wanted = wanted.map(|wanted| Arc::new(group(app, &wanted)));
                match &wanted {
                    Some(group) => drop(table.groups.insert(key(app), Arc::clone(group))),
                    None => drop(table.groups.remove(&key(app))),
                }
                changes.insert(key(app), wanted);
            }
            table.version = version;
            routes = routes.with(version, &changes, &mut find);
            check(&routes, &table)?;
            // The same at once.
            let whole = Routes::default();
            let whole = whole.with(version, &whole.changes_to(&table), &mut find);
            check(&whole, &table)?;
            prop_assert!(routes.changes_to(&table).is_empty());
            // And by way of the disk.
            let read: RouteTable = serde_json::from_slice(&routes.to_json()).unwrap();
            prop_assert_eq!(&read, &table);
        }
    }

    #[test]
    fn router_survives_any_host(host in "\\PC{0,40}", path in "/\\PC{0,40}") {
        let mut buffer = String::new();
        if let Some(host) = normalise_host(&host, &mut buffer) {
            prop_assert!(!host.is_empty() && !host.bytes().any(|b| b.is_ascii_uppercase() || b == b'/' || b == b'@'));
            Routes::default().find(host, &path);
        }
    }
}

#[test]
fn host_lookup_ignores_case_port_and_final_dot() {
    let mut buffer = String::new();
    for (host, normal) in [
        ("shop.test", Some("shop.test")),
        ("SHOP.test:80", Some("shop.test")),
        ("shop.test.", Some("shop.test")),
        ("shop.test.:80", Some("shop.test")),
        ("shop.test:", Some("shop.test")),
        ("a_b.test", Some("a_b.test")),
        ("127.0.0.1:80", Some("127.0.0.1")),
        ("[::1]", Some("[::1]")),
        ("[2001:DB8::1]:80", Some("[2001:db8::1]")),
        ("", None),
        (".", None),
        (":80", None),
        (".test", None),
        ("shop.test..", None),
        ("shop.test:65536", None),
        ("shop.test:+80", None),
        ("shop.test:80:80", None),
        ("[::1", None),
        ("[x]", None),
        ("[::1]x", None),
        ("shop test", None),
        ("münchen.de", None),
    ] {
        assert_eq!(normalise_host(host, &mut buffer), normal, "{host:?}");
    }
}

#[test]
fn unchanged_groups_are_shared_with_previous_table() {
    let mut find = find_placement();
    let changes: GroupChanges = (0..3).map(|app| (key(app), Some(Arc::new(group(app, &[(app, 0, false)]))))).collect();
    let before = Routes::default().with(1, &changes, &mut find);
    let one: GroupChanges = [(key(1), Some(Arc::new(group(1, &[(1, 1, false)]))))].into();
    let after = before.with(2, &one, &mut find);
    assert!(Arc::ptr_eq(&before.groups[&key(0)], &after.groups[&key(0)]));
    assert!(!Arc::ptr_eq(&before.groups[&key(1)], &after.groups[&key(1)]));
    let serial = |routes: &Routes, app| routes.groups[&key(app)].slots[0].instances[0].serial;
    assert_eq!(serial(&before, 1), serial(&after, 1), "the instance is the same one");
}
