//! Hosts and paths: the router, updated from one table to the next, against a plain implementation of its rules.

#![no_main]

use gapless_core::routes::{Backend, RouteGroup, RouteTable, SlotRole, SlotRoute};
use gapless_core::spec::ForwardSettings;
use gapless_core::spec::Route;
use gapless_core::{AppKey, Millis, ServiceName};
use gapless_proxy::fuzzing::{Router, host};
use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeSet;
use std::sync::Arc;

const LABELS: [&str; 5] = ["a", "b", "A", "x-1", "com"];
const SEGMENTS: [&str; 5] = ["a", "b", "ab", "A", "%2f"];
const SERVICES: [&str; 3] = ["web", "api", "files"];

fuzz_target!(|input: Input| {
    let mut router = Router::default();
    for table in &input.tables {
        router.change_to(table);
        let mut whole = Router::default();
        whole.change_to(table);
        for (host, path) in &input.requests {
            check(&router, table, host, path);
            check(&whole, table, host, path);
        }
        let file = gapless_proxy::fuzzing::table(&router.file()).expect("a readable file");
        assert_eq!(file, *table, "the file contains the table");
    }
});

fn check(router: &Router, table: &RouteTable, asked: &str, path: &str) {
    let wanted = normal(asked);
    assert_eq!(host(asked), wanted, "the host {asked:?}");
    let best = wanted.map(|host| best(table, &host, path)).unwrap_or_default();
    let Some(found) = router.find(asked, path) else {
        assert!(best.is_empty(), "{asked}{path}: no route is found, but {best:?} match");
        return;
    };
    let has_services = |app: &AppKey| {
        let routes = &table.groups[app].routes;
        routes.iter().map(|route| &route.service).collect::<BTreeSet<_>>().len() > 1
    };
    let is_found = best.iter().any(|(app, route)| {
        let strip = if route.strip && route.path.as_str() != "/" { route.path.as_str().len() } else { 0 };
        // Where all routes lead to one service, the group has the instances itself and is not divided.
        let services = if has_services(app) { [route.service.clone()].into() } else { all_services() };
        **app == found.app && strip == found.strip && services == found.services
    });
    assert!(is_found, "{asked}{path}: {found:?} is not in {best:?}");
    assert!(path.is_char_boundary(found.strip), "the stripped prefix is a prefix of the path");
}

/// The routes that the rules allow: of the exact host, else of a wildcard for its first label, else of `*`; of these
/// the routes with the longest prefix of whole segments.
fn best<'a>(table: &'a RouteTable, host: &str, path: &str) -> Vec<(&'a AppKey, &'a Route)> {
    let all: Vec<_> =
        table.groups.iter().flat_map(|(app, group)| group.routes.iter().map(move |route| (app, route))).collect();
    let (label, rest) = host.split_once('.').unwrap_or((host, ""));
    let wildcard = format!("*.{rest}");
    let patterns = [host, if label.is_empty() || rest.is_empty() { "" } else { &wildcard }, "*"];
    let of = |pattern: &&str| all.iter().copied().filter(|(_, route)| route.host.as_str() == *pattern).collect();
    let candidates: Vec<_> = patterns.iter().map(of).find(|routes: &Vec<_>| !routes.is_empty()).unwrap_or_default();
    let is_under = |prefix: &str| {
        let mut segments = path.split('/');
        prefix == "/" || prefix.split('/').all(|segment| segments.next() == Some(segment))
    };
    let candidates: Vec<_> = candidates.into_iter().filter(|(_, route)| is_under(route.path.as_str())).collect();
    let longest = candidates.iter().map(|(_, route)| route.path.as_str().len()).max();
    candidates.into_iter().filter(|(_, route)| Some(route.path.as_str().len()) == longest).collect()
}

/// Normalizes a `Host` header by its grammar (RFC 9110, 7.2; RFC 3986, 3.2.2): lower case, without port and final dot.
fn normal(header: &str) -> Option<String> {
    let (name, port) = match header.rfind(':').filter(|colon| !header[*colon..].contains(']')) {
        Some(colon) => (&header[..colon], &header[colon + 1..]),
        None => (header, ""),
    };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && (port.is_empty() || port.parse::<u16>().is_ok());
    let name = name.to_ascii_lowercase();
    if let Some(address) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return (is_port && address.parse::<std::net::Ipv6Addr>().is_ok()).then_some(name);
    }
    let name = name.strip_suffix('.').unwrap_or(&name);
    let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte));
    let is_good = is_port && is_name && !name.is_empty() && !name.starts_with('.') && !name.ends_with('.');
    is_good.then(|| name.to_owned())
}

fn all_services() -> BTreeSet<ServiceName> {
    SERVICES.iter().map(|name| name.parse().expect("a name")).collect()
}

#[derive(Debug)]
struct Input {
    tables: Vec<RouteTable>,
    requests: Vec<(String, String)>,
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let tables = (1..=u.int_in_range(1..=3)?).map(|version| table(u, version)).collect::<Result<_>>()?;
        let requests = (0..u.int_in_range(1..=4)?).map(|_| request(u)).collect::<Result<_>>()?;
        Ok(Input { tables, requests })
    }
}

fn table(u: &mut Unstructured<'_>, version: u64) -> Result<RouteTable> {
    let mut table = RouteTable { version, ..RouteTable::default() };
    for number in 0..u.int_in_range(0..=3)? {
        let app: AppKey = format!("app-{number}/production").parse().expect("a name");
        if u.ratio(1, 4)? {
            continue;
        }
        let routes = (0..u.int_in_range(0..=4)?).map(|_| route(u)).collect::<Result<_>>()?;
        table.groups.insert(app.clone(), Arc::new(group(&app, routes)));
    }
    Ok(table)
}

fn route(u: &mut Unstructured<'_>) -> Result<Route> {
    let labels = labels(u)?;
    let host = match u.int_in_range(0..=5)? {
        0 => "*".to_owned(),
        1 | 2 => format!("*.{labels}"),
        _ => labels,
    };
    let mut path: String =
        (0..u.int_in_range(0..=3)?).map(|_| Ok(format!("/{}", u.choose(&SEGMENTS)?))).collect::<Result<_>>()?;
    if path.is_empty() {
        path.push('/');
    }
    let service = u.choose(&SERVICES)?.parse().expect("a name");
    Ok(Route {
        host: host.parse().expect("a host"),
        path: path.parse().expect("a path"),
        strip: u.arbitrary()?,
        service,
    })
}

fn labels(u: &mut Unstructured<'_>) -> Result<String> {
    let labels: Vec<&str> = (0..u.int_in_range(1..=3)?).map(|_| u.choose(&LABELS).copied()).collect::<Result<_>>()?;
    Ok(labels.join("."))
}

fn group(app: &AppKey, routes: Vec<Route>) -> RouteGroup {
    let instance = |service| Backend { service, replica: 1, address: ([127, 0, 0, 1], 80).into() };
    let slot = SlotRoute {
        placement: format!("{app}/blue/1").parse().expect("a placement"),
        release: 1,
        role: SlotRole::Live,
        weight: 100,
        instances: all_services().into_iter().map(instance).collect(),
        drain_timeout: Millis(1),
    };
    RouteGroup {
        routes,
        slots: vec![slot],
        split: None,
        forward: ForwardSettings::default(),
        hold: None,
        maintenance: None,
        preview: None,
    }
}

/// An arbitrary request, often for one of the routes.
fn request(u: &mut Unstructured<'_>) -> Result<(String, String)> {
    let host = if u.ratio(1, 4)? {
        u.arbitrary::<&str>()?.to_owned()
    } else {
        format!("{}{}", labels(u)?, u.choose(&["", ".", ":80", ".:80", ":", "..", ":65536"])?)
    };
    let mut path = String::new();
    for _ in 0..u.int_in_range(1..=4)? {
        path.push('/');
        path.push_str(if u.ratio(1, 8)? { u.arbitrary()? } else { u.choose(&SEGMENTS)? });
    }
    Ok((host, path))
}
