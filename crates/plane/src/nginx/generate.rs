//! Generates an application's file for nginx: upstreams, the choice of a slot, and a server for each host. The file is
//! complete, so that it can be tested alone.

use super::choice::{self, Chosen};
use super::files::{self, Files, HEADER_LINE};
use super::settings::NginxConfig;
use super::syntax::{Directive, Word, block, line, literal, render, set};
use gapless_core::routes::PREVIEW_HEADER;
use gapless_core::spec::ForwardSettings;
use gapless_core::spec::Route;
use gapless_core::{AppKey, HostPattern, Millis, RouteGroup, ServiceName, SlotRole, SlotRoute};
use std::collections::{BTreeMap, BTreeSet};

/// The idle connections to an upstream that a worker keeps. In a burst, requests beyond that number connect for each
/// request: that fills the instance's queue of connections, and the kernel makes connections that do not fit wait
/// longer than `connect_timeout`.
const KEPT_CONNECTIONS: &str = "128";
/// How long an idle connection is kept: shorter than servers usually keep an idle connection (Node 5 s), or a request could meet its
/// end.
const KEPT_FOR: &str = "4s";
/// The path of error pages within a server. Only nginx itself can request it.
const PAGES: &str = "/.gapless-pages/";

/// The files of an application with the routes of `group`.
pub(super) fn application(key: &AppKey, group: &RouteGroup, settings: &NginxConfig) -> Files {
    let prefix = variable(key);
    let mut directives = Vec::new();
    let services: BTreeSet<&ServiceName> = group.routes.iter().map(|route| &route.service).collect();
    let is_used = |slot: &&SlotRoute| slot.role == SlotRole::Live && slot.weight > 0;
    let used = group.slots.iter().filter(is_used).chain(group.preview.iter().map(|preview| &preview.slot));
    for slot in used {
        directives.extend(services.iter().map(|service| upstream(key, slot, service)));
    }
    directives.push(block(
        ["map".into(), "$http_upgrade".into(), format!("${prefix}_connection").into()],
        vec![line([Word::Untrusted(String::new()), Word::Untrusted(String::new())]), set("default", "upgrade")],
    ));
    directives.extend(forwarded_maps(&prefix, &group.forward));
    let (maps, chosen) = choice::directives(group, &prefix);
    directives.extend(maps);
    let (strips, strip_variables) = strips(group, &prefix);
    directives.extend(strips);

    let mut hosts = BTreeMap::<&HostPattern, Vec<&Route>>::new();
    for route in &group.routes {
        hosts.entry(&route.host).or_default().push(route);
    }
    for (host, routes) in hosts {
        let server = Server { key, group, settings, prefix: &prefix, chosen: &chosen, strips: &strip_variables };
        directives.push(server.directive(host, &routes));
    }
    let mut all = pages(key, group);
    all.insert(files::file_of(key), format!("{HEADER_LINE}{}", render(&directives)));
    all
}

/// The files with an application's pages.
pub(super) fn pages(key: &AppKey, group: &RouteGroup) -> Files {
    let maintenance = group.maintenance.as_ref().and_then(|maintenance| maintenance.page.as_ref());
    let pages = [("error", group.forward.error_page.as_ref()), ("maintenance", maintenance)];
    let written = pages.into_iter().filter_map(|(name, html)| Some((files::page_of(key, name), html?.clone())));
    written.collect()
}

/// The maximum length of the prefix of an application's variables, in bytes. With a suffix (`_stripped_999`) a name has
/// at most 46 bytes: longer names do not fit into nginx's default `variables_hash_bucket_size`.
const VARIABLE_BYTES_MAX: usize = 33;

/// The prefix of an application's variables, unique for each application: names have no underscores, and a long name is
/// replaced by its hash.
pub(super) fn variable(key: &AppKey) -> String {
    let part = |text: &str| text.replace('-', "_d");
    let name = format!("gapless_{}_s{}", part(key.app.as_str()), part(key.env.as_str()));
    if name.len() <= VARIABLE_BYTES_MAX { name } else { format!("gapless_{:016x}", files::hash(name.bytes())) }
}

/// The name of an upstream; `slot` can be a variable.
pub(super) fn upstream_name(key: &AppKey, slot: &str, service: &ServiceName) -> String {
    format!("{}.{}.{slot}.{service}.gapless", key.app, key.env)
}

fn upstream(key: &AppKey, slot: &SlotRoute, service: &ServiceName) -> Directive {
    let instances = slot.instances.iter().filter(|instance| instance.service == *service);
    // gapless decides which instances are healthy; by its own count nginx would stop using even the only one for
    // seconds.
    let servers =
        instances.map(|instance| line(["server".into(), instance.address.to_string().into(), "max_fails=0".into()]));
    let mut inner: Vec<_> = servers.collect();
    if inner.is_empty() {
        // nginx requires a server in each upstream, and answers 502 for this one.
        inner.push(line(["server".into(), "127.0.0.1:1".into(), "down".into()]));
    }
    inner.push(set("keepalive", KEPT_CONNECTIONS));
    inner.push(set("keepalive_timeout", KEPT_FOR));
    block(["upstream".into(), upstream_name(key, &choice::label(slot), service).into()], inner)
}

/// The forwarded headers: the client's data as a trusted proxy sent them, or otherwise as nginx sees them.
fn forwarded_maps(prefix: &str, forward: &ForwardSettings) -> Vec<Directive> {
    if !forward.trust_forwarded {
        return Vec::new();
    }
    let or = |header: &str, name: &str, otherwise: &str| {
        let inner = vec![line([Word::Untrusted(String::new()), otherwise.into()]), set("default", header)];
        block(["map".into(), header.into(), format!("${prefix}_{name}").into()], inner)
    };
    vec![
        or("$http_x_forwarded_proto", "proto", "$scheme"),
        or("$http_x_forwarded_host", "host", "$http_host"),
        or("$http_x_request_id", "request_id", "$request_id"),
    ]
}

/// For each prefix that is stripped, a variable with the rest of the request's target, as it was sent.
fn strips(group: &RouteGroup, prefix: &str) -> (Vec<Directive>, BTreeMap<String, String>) {
    let paths: BTreeSet<&str> = group
        .routes
        .iter()
        .filter(|route| route.strip)
        .map(|route| route.path.as_str())
        .filter(|path| *path != "/")
        .collect();
    let mut variables = BTreeMap::new();
    let maps = paths.into_iter().enumerate().map(|(at, path)| {
        let variable = format!("${prefix}_stripped_{at}");
        variables.insert(path.to_owned(), variable.clone());
        let path = literal(path);
        let inner = vec![
            set("default", "$request_uri"),
            line([format!("~^{path}(/.*)$").into(), "$1".into()]),
            line([format!("~^{path}(\\?.*)?$").into(), "/$1".into()]),
        ];
        block(["map".into(), "$request_uri".into(), variable.into()], inner)
    });
    (maps.collect(), variables)
}

struct Server<'a> {
    key: &'a AppKey,
    group: &'a RouteGroup,
    settings: &'a NginxConfig,
    prefix: &'a str,
    chosen: &'a Chosen,
    strips: &'a BTreeMap<String, String>,
}

impl Server<'_> {
    fn directive(&self, host: &HostPattern, routes: &[&Route]) -> Directive {
        let forward = &self.group.forward;
        let mut inner: Vec<_> = self.settings.listen.iter().map(|address| set("listen", address.to_string())).collect();
        inner.push(match host {
            host if host.is_any() => line(["server_name".into(), Word::Untrusted(String::new()), "~^".into()]),
            host => set("server_name", Word::Untrusted(host.as_str().to_owned())),
        });
        if let Some(suffix) = host.wildcard_suffix() {
            // nginx's wildcard also matches several labels.
            let several = format!("^[^.]+\\.{}$", literal(suffix));
            inner.push(block(
                ["if".into(), Word::Trusted("($host".into()), "!~".into(), Word::Untrusted(several), ")".into()],
                vec![set("return", "404")],
            ));
        }
        inner.extend(self.proxying(forward));
        inner.extend(self.pages());
        match &self.group.maintenance {
            Some(maintenance) => {
                let mut done = BTreeSet::new();
                for path in maintenance.health_paths.iter().filter(|path| done.insert(path.as_str())) {
                    let best = routes.iter().filter(|route| route.path.matches(path));
                    if let Some(route) = best.max_by_key(|route| route.path.as_str().len()) {
                        let words = ["location".into(), "=".into(), Word::Untrusted(path.clone())];
                        inner.push(block(words, self.forwarding(route)));
                    }
                }
                inner.push(block(["location".into(), "/".into()], vec![set("return", "503")]));
            }
            None => {
                for route in routes {
                    inner.extend(self.locations(route));
                }
                if !routes.iter().any(|route| route.path.as_str() == "/") {
                    inner.push(block(["location".into(), "/".into()], vec![set("return", "404")]));
                }
            }
        }
        block(["server".into()], inner)
    }

    /// The directives for forwarding, the same for all services.
    fn proxying(&self, forward: &ForwardSettings) -> Vec<Directive> {
        let (first_byte, idle) = (forward.first_byte_timeout, forward.idle_body_timeout);
        let prefix = self.prefix;
        let header = |name: &str, value: Word| line(["proxy_set_header".into(), name.into(), value]);
        let ours = |trusted: String, otherwise: &str| match forward.trust_forwarded {
            true => Word::Trusted(trusted),
            false => Word::Trusted(otherwise.to_owned()),
        };
        let mut all = vec![
            set("client_max_body_size", "0"),
            set("client_body_timeout", time(idle)),
            set("send_timeout", time(idle)),
            set("proxy_http_version", "1.1"),
            set("proxy_connect_timeout", time(forward.connect_timeout)),
            // nginx has one timeout for the wait for the head and for each part of the body.
            set("proxy_read_timeout", time(first_byte.max(idle))),
            set("proxy_send_timeout", time(idle)),
            set("proxy_buffering", "off"),
            set("proxy_request_buffering", "off"),
            set("proxy_redirect", "off"),
            // A request that may have been processed is never sent again, and none is ever sent to another slot.
            set("proxy_next_upstream", "error"),
            header("Host", "$http_host".into()),
            header("Connection", format!("${prefix}_connection").into()),
            header("Upgrade", "$http_upgrade".into()),
            header("X-Real-IP", "$remote_addr".into()),
            header("X-Forwarded-For", ours("$proxy_add_x_forwarded_for".to_owned(), "$remote_addr")),
            header("X-Forwarded-Proto", ours(format!("${prefix}_proto"), "$scheme")),
            header("X-Forwarded-Host", ours(format!("${prefix}_host"), "$http_host")),
            header("X-Request-Id", ours(format!("${prefix}_request_id"), "$request_id")),
            header(PREVIEW_HEADER, Word::Untrusted(String::new())),
        ];
        if !forward.trust_forwarded {
            all.push(header("Forwarded", Word::Untrusted(String::new())));
        }
        all
    }

    /// The pages that nginx serves when no instance answers.
    fn pages(&self) -> Vec<Directive> {
        let mut all = Vec::new();
        let is_maintained = self.group.maintenance.is_some();
        let has_own = self.group.maintenance.as_ref().is_some_and(|maintenance| maintenance.page.is_some());
        let mut page = |name: &str, statuses: &[&str]| {
            let location = format!("{PAGES}{name}");
            for status in statuses {
                all.push(line(["error_page".into(), (*status).into(), location.clone().into()]));
            }
            let file = self.settings.seen_dir().join(files::page_of(self.key, name));
            let inner = vec![
                line(["internal".into()]),
                // An empty `types` is the only way to disable the content type that the file's name implies.
                block(["types".into()], Vec::new()),
                set("default_type", Word::Untrusted("text/html; charset=utf-8".into())),
                line([
                    "add_header".into(),
                    "Retry-After".into(),
                    self.group.forward.retry_after_s.to_string().into(),
                    "always".into(),
                ]),
                line(["add_header".into(), "Cache-Control".into(), "no-store".into(), "always".into()]),
                set("alias", Word::Untrusted(file.display().to_string())),
            ];
            all.push(block(["location".into(), "=".into(), location.into()], inner));
        };
        if is_maintained && has_own {
            page("maintenance", &["503"]);
        }
        if self.group.forward.error_page.is_some() {
            page("error", if is_maintained { &["502", "504"] } else { &["502", "503", "504"] });
        }
        all
    }

    /// The locations of a route: its path, and all paths below it.
    fn locations(&self, route: &Route) -> Vec<Directive> {
        let forwarding = self.forwarding(route);
        match route.path.as_str() {
            "/" => vec![block(["location".into(), "/".into()], forwarding)],
            path => vec![
                block(["location".into(), "=".into(), Word::Untrusted(path.to_owned())], forwarding.clone()),
                block(["location".into(), "^~".into(), Word::Untrusted(format!("{path}/"))], forwarding),
            ],
        }
    }

    fn forwarding(&self, route: &Route) -> Vec<Directive> {
        let Chosen { slot, may_be_none, may_be_unavailable, is_never } = self.chosen;
        if *is_never {
            return vec![set("return", "503")];
        }
        let refused = |what: &str, status: &str| {
            block(
                ["if".into(), format!("({slot}").into(), "=".into(), format!("{what})").into()],
                vec![set("return", status)],
            )
        };
        let mut all = Vec::new();
        if self.group.preview.is_none() {
            let is_asked = block(
                [
                    "if".into(),
                    "($http_x_gapless_preview".into(),
                    "!=".into(),
                    Word::Untrusted(String::new()),
                    ")".into(),
                ],
                vec![set("return", "404")],
            );
            all.push(is_asked);
        }
        if *may_be_none {
            all.push(refused(choice::NONE, "404"));
        }
        if *may_be_unavailable {
            all.push(refused(choice::UNAVAILABLE, "503"));
        }
        let target = match self.strips.get(route.path.as_str()).filter(|_| route.strip) {
            Some(variable) => variable.as_str(),
            None => "",
        };
        all.push(set("proxy_pass", format!("http://{}{target}", upstream_name(self.key, slot, &route.service))));
        all
    }
}

pub(super) fn time(time: Millis) -> String {
    format!("{}ms", time.0)
}
