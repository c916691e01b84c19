//! The facts of an application that a template receives. Each is derived from the routes alone, so a file changes only
//! when they do.

use super::choice;
use super::files;
use super::generate;
use super::settings::NginxConfig;
use gapless_core::routes::Split;
use gapless_core::strategy::{Choose, Matcher};
use gapless_core::{AppKey, HostPattern, RouteGroup, ServiceName, SlotRole, SlotRoute};
use gapless_gotemplate::{Element, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The dot of a template.
pub(super) fn facts(key: &AppKey, group: &RouteGroup, settings: &NginxConfig) -> Value {
    let live = choice::weighted(group);
    let total: u64 = live.iter().map(|slot| u64::from(slot.weight)).sum();
    let slot = |one: &SlotRoute, total: u64| slot(key, group, one, total);
    let fallbacks = group.slots.iter().filter(|slot| slot.role == SlotRole::Fallback).map(|one| slot(one, 0));
    let preview = group.preview.as_ref().map_or(Value::Nil, |preview| {
        let to = slot(&preview.slot, u64::from(preview.slot.weight));
        Value::object("Preview", vec![("Token", preview.token.as_str().into()), ("Slot", to)])
    });
    let page = |name: &str| settings.seen_dir().join(files::page_of(key, name)).display().to_string();
    let maintenance = group.maintenance.as_ref().map_or(Value::Nil, |maintenance| {
        let path = maintenance.page.as_ref().map(|_| page("maintenance")).unwrap_or_default();
        let health = Value::texts(&maintenance.health_paths);
        Value::object("Maintenance", vec![("Page", path.into()), ("HealthPaths", health)])
    });
    let forward = &group.forward;
    let time = |name, time| (name, Value::from(generate::time(time)));
    let timeouts = vec![
        time("Connect", forward.connect_timeout),
        time("FirstByte", forward.first_byte_timeout),
        time("IdleBody", forward.idle_body_timeout),
    ];
    Value::object(
        "Application",
        vec![
            ("App", key.app.as_str().into()),
            ("Env", key.env.as_str().into()),
            ("Prefix", generate::variable(key).into()),
            ("Listen", Value::texts(settings.listen.iter().map(ToString::to_string))),
            ("Hosts", hosts(group)),
            ("Live", list("Slot", live.iter().map(|one| slot(one, total)))),
            ("Fallbacks", list("Slot", fallbacks)),
            ("Split", group.split.as_ref().map_or(Value::Nil, split)),
            ("Preview", preview),
            ("Maintenance", maintenance),
            ("ErrorPage", forward.error_page.as_ref().map(|_| page("error")).unwrap_or_default().into()),
            ("RetryAfter", Value::Int(forward.retry_after_s.into())),
            ("TrustForwarded", Value::Bool(forward.trust_forwarded)),
            ("Timeouts", Value::object("Timeouts", timeouts)),
        ],
    )
}

fn list(of: &'static str, items: impl Iterator<Item = Value>) -> Value {
    Value::list(Element::Struct(of), items.collect())
}

fn hosts(group: &RouteGroup) -> Value {
    let mut hosts = BTreeMap::<&HostPattern, Vec<Value>>::new();
    for route in &group.routes {
        let fields = vec![
            ("Path", route.path.as_str().into()),
            ("Strip", Value::Bool(route.strip)),
            ("Service", route.service.to_string().into()),
        ];
        hosts.entry(&route.host).or_default().push(Value::object("Route", fields));
    }
    let host = |(host, routes): (&HostPattern, Vec<Value>)| {
        let fields = vec![
            ("Name", host.as_str().into()),
            ("IsAny", Value::Bool(host.is_any())),
            ("Routes", list("Route", routes.into_iter())),
        ];
        Value::object("Host", fields)
    };
    list("Host", hosts.into_iter().map(host))
}

fn slot(key: &AppKey, group: &RouteGroup, slot: &SlotRoute, total: u64) -> Value {
    let names: BTreeSet<&ServiceName> = group.routes.iter().map(|route| &route.service).collect();
    let service = |name: &ServiceName| {
        let instances = slot.instances.iter().filter(|instance| instance.service == *name);
        let fields = vec![
            ("Name", name.to_string().into()),
            ("Upstream", generate::upstream_name(key, &choice::label(slot), name).into()),
            ("Addresses", Value::texts(instances.map(|instance| instance.address.to_string()))),
        ];
        Value::object("Service", fields)
    };
    let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let fields = vec![
        ("Name", choice::label(slot).into()),
        ("Slot", slot.placement.slot.to_string().into()),
        ("Deployment", number(slot.placement.deployment)),
        ("Release", number(slot.release)),
        ("Weight", number(u64::from(slot.weight))),
        ("Percent", choice::percent(slot.weight, total).into()),
        ("Services", list("Service", names.into_iter().map(service))),
    ];
    Value::object("Slot", fields)
}

/// The rule that chooses between two slots.
fn split(split: &Split) -> Value {
    let matcher = |matcher: &Matcher| {
        let (kind, name, value) = match matcher {
            Matcher::Header { name, value } => ("header", name.as_str(), value.as_str()),
            Matcher::Cookie { name, value } => ("cookie", name.as_str(), value.as_str()),
            Matcher::Path(path) => ("path", "", path.as_str()),
        };
        Value::object("Matcher", vec![("Kind", kind.into()), ("Name", name.into()), ("Value", value.into())])
    };
    let (by, header, matchers) = match &split.by {
        Choose::Random => ("random", "", Vec::new()),
        Choose::Sticky => ("sticky", "", Vec::new()),
        Choose::Hash { header } => ("hash", header.as_str(), Vec::new()),
        Choose::Match(matchers) => ("match", "", matchers.iter().map(matcher).collect()),
    };
    let to = format!("{}-{}", split.to.slot, split.to.deployment);
    let fields = vec![
        ("To", to.into()),
        ("By", by.into()),
        ("Header", header.into()),
        ("Matchers", list("Matcher", matchers.into_iter())),
    ];
    Value::object("Split", fields)
}
