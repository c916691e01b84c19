//! From a host and a path to the group of an application: the table in the form that requests are routed by. A new
//! table shares everything with the one before but what changed.

use crate::hold::HeldCounts;
use crate::placement::{Listed, Placement};
use crate::split::Split;
use bytes::Bytes;
use gapless_core::routes::{RouteGroup, RouteTable, SlotRole};
use gapless_core::{AppKey, HostPattern, PathPrefix, PlacementId, ServiceName};
use http::HeaderValue;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// The table that requests are routed by.
#[derive(Debug, Default, Clone)]
pub(crate) struct Routes {
    pub(crate) version: u64,
    pub(crate) groups: BTreeMap<Arc<AppKey>, Arc<Group>>,
    /// Exact hosts.
    hosts: HashMap<Arc<str>, Arc<[PathRoute]>>,
    /// Wildcards, by what stands behind `*.`.
    wildcards: HashMap<Arc<str>, Arc<[PathRoute]>>,
    /// The host `*`.
    any: Option<Arc<[PathRoute]>>,
}

/// One route of a host; a host's routes stand longest prefix first.
#[derive(Debug, Clone)]
pub(crate) struct PathRoute {
    prefix: PathPrefix,
    /// Bytes to cut off the path.
    strip: usize,
    group: Arc<Group>,
}

/// The routes of an application in an environment, and where they lead.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) source: Arc<RouteGroup>,
    /// The same as it is kept on disk.
    json: Box<[u8]>,
    pub(crate) slots: Vec<GroupSlot>,
    /// The only one that may get requests, where there is one such slot with one instance, and no fallback.
    pub(crate) only: Option<Listed>,
    /// By what requests are divided between two live slots, where not by chance.
    pub(crate) split: Option<Split>,
    pub(crate) preview: Option<Preview>,
    pub(crate) forward: Forward,
    pub(crate) retry_after: HeaderValue,
    pub(crate) error_page: Option<Bytes>,
    pub(crate) maintenance: Option<Maintenance>,
    pub(crate) own: Arc<OwnCounts>,
    /// The same for each service alone, where routes lead to several.
    services: Vec<(ServiceName, Arc<Group>)>,
}

/// What is answered to all but health checks.
#[derive(Debug)]
pub(crate) struct Maintenance {
    pub(crate) page: Option<Bytes>,
    pub(crate) health_paths: Box<[String]>,
}

/// Where requests with that token go: a group of its own, of one slot.
#[derive(Debug)]
pub(crate) struct Preview {
    pub(crate) token: Box<str>,
    pub(crate) group: Box<Group>,
}

/// A placement in a group.
#[derive(Debug)]
pub(crate) struct GroupSlot {
    pub(crate) placement: Arc<Placement>,
    pub(crate) role: SlotRole,
    /// 0 unless it is live.
    pub(crate) weight: u32,
    pub(crate) instances: Vec<Listed>,
    pub(crate) drain_timeout: Duration,
}

/// How requests of a group are forwarded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forward {
    pub(crate) connect_timeout: Duration,
    pub(crate) first_byte_timeout: Duration,
    pub(crate) idle_body_timeout: Duration,
    pub(crate) trust_forwarded: bool,
}

/// What gapless answered itself for a group.
#[derive(Debug, Default)]
pub(crate) struct OwnCounts {
    pub(crate) refused: AtomicU64,
    pub(crate) no_route: AtomicU64,
    pub(crate) bad_gateway: AtomicU64,
    pub(crate) unavailable: AtomicU64,
    pub(crate) timeout: AtomicU64,
    pub(crate) maintenance: AtomicU64,
    pub(crate) held: HeldCounts,
}

/// What changes from a table to the next one: the groups that are new or other than they were, `None` where one is
/// gone.
pub(crate) type GroupChanges = BTreeMap<AppKey, Option<Arc<RouteGroup>>>;

/// Finds the placement's object, or makes it.
pub(crate) type FindPlacement<'a> = &'a mut dyn FnMut(&PlacementId) -> Arc<Placement>;

impl Routes {
    /// What leads from this table to `table`.
    pub(crate) fn changes_to(&self, table: &RouteTable) -> GroupChanges {
        let gone = self.groups.keys().filter(|key| !table.groups.contains_key(&***key));
        let gone = gone.map(|key| (AppKey::clone(key), None));
        let other = table.groups.iter().filter(|(key, group)| {
            self.groups
                .get(*key)
                .is_none_or(|present| !Arc::ptr_eq(&present.source, group) && present.source != **group)
        });
        gone.chain(other.map(|(key, group)| (key.clone(), Some(Arc::clone(group))))).collect()
    }

    /// The table that comes of this one by `changes`.
    pub(crate) fn with(&self, version: u64, changes: &GroupChanges, find: FindPlacement<'_>) -> Routes {
        let mut routes = Routes { version, ..self.clone() };
        for (key, source) in changes {
            let before = routes.groups.remove(key);
            let after = source.as_ref().map(|source| Arc::new(Group::new(source, before.as_deref(), find)));
            if let Some(group) = &after {
                routes.groups.insert(Arc::new(key.clone()), Arc::clone(group));
            }
            routes.reindex(before.as_ref(), after.as_ref());
        }
        routes
    }

    /// The table as JSON, put together of what each group was written as when it came: of a thousand groups one has
    /// changed.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut json = format!("{{\"version\":{},\"groups\":{{", self.version).into_bytes();
        for (index, (key, group)) in self.groups.iter().enumerate() {
            // Names hold nothing that JSON would have to escape.
            let separator = if index == 0 { "" } else { "," };
            json.extend_from_slice(format!("{separator}\"{key}\":").as_bytes());
            json.extend_from_slice(&group.json);
        }
        json.extend_from_slice(b"}}");
        json
    }

    fn reindex(&mut self, before: Option<&Arc<Group>>, after: Option<&Arc<Group>>) {
        let hosts: BTreeSet<&HostPattern> =
            before.iter().chain(&after).flat_map(|group| group.source.routes.iter().map(|route| &route.host)).collect();
        for host in hosts {
            let mut paths: Vec<PathRoute> = self
                .of_pattern(host)
                .iter()
                .filter(|route| before.is_none_or(|before| !Arc::ptr_eq(&route.group.source, &before.source)))
                .cloned()
                .collect();
            for (group, route) in after.iter().flat_map(|group| group.source.routes.iter().map(move |r| (group, r))) {
                if route.host == *host {
                    let prefix = route.path.clone();
                    // Nothing is left to cut off the root.
                    let strip = if route.strip && prefix.as_str() != "/" { prefix.as_str().len() } else { 0 };
                    paths.push(PathRoute { prefix, strip, group: Arc::clone(group.of_service(&route.service)) });
                }
            }
            paths.sort_by_key(|route| std::cmp::Reverse(route.prefix.as_str().len()));
            self.set_pattern(host, paths);
        }
    }

    fn of_pattern(&self, host: &HostPattern) -> &[PathRoute] {
        let found = if host.is_any() {
            self.any.as_ref()
        } else if let Some(suffix) = host.wildcard_suffix() {
            self.wildcards.get(suffix)
        } else {
            self.hosts.get(host.as_str())
        };
        found.map_or(&[], |routes| routes)
    }

    fn set_pattern(&mut self, host: &HostPattern, paths: Vec<PathRoute>) {
        let paths: Option<Arc<[PathRoute]>> = if paths.is_empty() { None } else { Some(paths.into()) };
        if host.is_any() {
            self.any = paths;
            return;
        }
        let (map, name) = match host.wildcard_suffix() {
            Some(suffix) => (&mut self.wildcards, suffix),
            None => (&mut self.hosts, host.as_str()),
        };
        match paths {
            Some(paths) => map.insert(name.into(), paths),
            None => map.remove(name),
        };
    }

    /// The group that a request for `host` (normalised) and `path` belongs to, and how many bytes to cut off the path.
    /// The host is chosen first: an exact one, a wildcard, `*`; then the longest prefix among its routes.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<(&Arc<Group>, usize)> {
        let wildcard = || host.split_once('.').and_then(|(_, suffix)| self.wildcards.get(suffix));
        let paths = self.hosts.get(host).or_else(wildcard).or(self.any.as_ref())?;
        paths.iter().find(|route| route.prefix.matches(path)).map(|route| (&route.group, route.strip))
    }
}

impl Group {
    /// Its slots, that of the preview included.
    pub(crate) fn all_slots(&self) -> impl Iterator<Item = &GroupSlot> + Clone {
        self.slots.iter().chain(self.preview.iter().flat_map(|preview| &preview.group.slots))
    }

    /// What requests to that service go by.
    pub(crate) fn of_service<'a>(self: &'a Arc<Group>, service: &ServiceName) -> &'a Arc<Group> {
        self.services.iter().find(|(name, _)| name == service).map_or(self, |(_, group)| group)
    }

    fn new(source: &Arc<RouteGroup>, before: Option<&Group>, find: FindPlacement<'_>) -> Group {
        let mut group = Group::with(source, before, find, None);
        // Strings, numbers and lists cannot fail to be written.
        group.json = serde_json::to_vec(source).unwrap_or_else(|_| b"null".to_vec()).into();
        let services: BTreeSet<_> = source.routes.iter().map(|route| &route.service).collect();
        if services.len() > 1 {
            // They share the instances of the group as a whole.
            let mut of = |service: &ServiceName| Arc::new(Group::with(source, Some(&group), find, Some(service)));
            group.services = services.into_iter().map(|service| (service.clone(), of(service))).collect();
        }
        group
    }

    /// A group with the instances of all services, or of one.
    fn with(
        source: &Arc<RouteGroup>,
        before: Option<&Group>,
        find: FindPlacement<'_>,
        service: Option<&ServiceName>,
    ) -> Group {
        let slots = source.slots.iter().map(|slot| {
            let placement = find(&slot.placement);
            let known = before.into_iter().flat_map(Group::all_slots).flat_map(|slot| &slot.instances);
            let backends =
                slot.instances.iter().filter(|backend| service.is_none_or(|service| backend.service == *service));
            let instances = backends.map(|backend| {
                let same = |instance: &&Listed| {
                    Arc::ptr_eq(&instance.placement, &placement)
                        && (instance.replica, instance.address) == (backend.replica, backend.address)
                        && instance.service == backend.service
                };
                known.clone().find(same).cloned().unwrap_or_else(|| Listed::new(backend, Arc::clone(&placement)))
            });
            let instances = instances.collect();
            let weight = if slot.role == SlotRole::Live { slot.weight } else { 0 };
            let drain_timeout = slot.drain_timeout.to_duration();
            GroupSlot { placement, role: slot.role, weight, instances, drain_timeout }
        });
        let slots: Vec<GroupSlot> = slots.collect();
        let mut live = slots.iter().filter(|slot| slot.weight > 0);
        let has_fallback = slots.iter().any(|slot| slot.role == SlotRole::Fallback);
        let only = match (live.next(), live.next()) {
            (Some(GroupSlot { instances, .. }), None) if instances.len() == 1 && !has_fallback => {
                instances.first().cloned()
            }
            _ => None,
        };
        let preview = source.preview.as_ref().map(|preview| {
            let slots = vec![preview.slot.clone()];
            let forward = source.forward.clone();
            let alone = RouteGroup {
                routes: Vec::new(),
                slots,
                split: None,
                forward,
                hold: None,
                maintenance: None,
                preview: None,
            };
            Preview {
                token: preview.token.as_str().into(),
                group: Box::new(Group::with(&Arc::new(alone), before, find, service)),
            }
        });
        let ids: Vec<_> = slots.iter().map(|slot| slot.placement.id.clone()).collect();
        let split = source.split.as_ref().and_then(|split| Split::new(split, &ids));
        let settings = &source.forward;
        let forward = Forward {
            connect_timeout: settings.connect_timeout.to_duration(),
            first_byte_timeout: settings.first_byte_timeout.to_duration(),
            idle_body_timeout: settings.idle_body_timeout.to_duration(),
            trust_forwarded: settings.trust_forwarded,
        };
        let retry_after = HeaderValue::from(settings.retry_after_s);
        let error_page = settings.error_page.clone().map(Bytes::from);
        let maintenance = source.maintenance.as_ref().map(|maintenance| Maintenance {
            page: maintenance.page.clone().map(Bytes::from),
            health_paths: maintenance.health_paths.clone().into(),
        });
        let own = before.map(|group| Arc::clone(&group.own)).unwrap_or_default();
        Group {
            source: Arc::clone(source),
            json: Box::default(),
            slots,
            only,
            split,
            preview,
            forward,
            retry_after,
            error_page,
            maintenance,
            own,
            services: Vec::new(),
        }
    }
}

/// A host as it is looked up: lower case, without port and trailing dot. `None` where it is none.
pub(crate) fn normalise_host<'a>(host: &'a str, buffer: &'a mut String) -> Option<&'a str> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_');
    if !host.is_empty() && host.bytes().all(plain) && !host.ends_with('.') && !host.starts_with('.') {
        return Some(host);
    }
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')?;
            rest[..end].parse::<std::net::Ipv6Addr>().ok()?;
            (&host[..end + 2], &rest[end + 1..])
        }
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    if !(port.is_empty() || port == ":" || port[1..].parse::<u16>().is_ok() && !port[1..].starts_with('+')) {
        return None;
    }
    if !port.is_empty() && !port.starts_with(':') {
        return None;
    }
    buffer.clear();
    buffer.push_str(name);
    buffer.make_ascii_lowercase();
    if name.starts_with('[') {
        return Some(buffer);
    }
    let name = buffer.strip_suffix('.').unwrap_or(buffer);
    (!name.is_empty() && !name.starts_with('.') && !name.ends_with('.') && name.bytes().all(plain)).then_some(name)
}

#[cfg(test)]
mod tests;
