//! Reads the routes of requests, and the statuses of health checks.

use super::Reading;
use crate::keys::workload::{self, route};
use crate::keys::{health, service};
use crate::section::{Located, Section};
use gapless_core::spec::Route;
use gapless_core::{HostPattern, PathPrefix, ServiceName};
use std::collections::HashMap;
use toml::Spanned;
use toml::de::DeValue;

impl Reading<'_> {
    /// Reads the routes to a service, from `hosts` with `path` and from `routes`; with the path in the file of each route.
    pub(super) fn routes(&self, section: &Section<'_>, service: &ServiceName) -> (Vec<Route>, Vec<String>) {
        let (mut routes, mut origins) = (Vec::new(), Vec::new());
        let mut add = |host, path, strip, origin| {
            routes.push(Route { host, path, strip, service: service.clone() });
            origins.push(origin);
        };
        // `path` and `strip` are never inherited.
        let has_path = section.has_own(&service::PATH);
        let path = if has_path { section.text(&service::PATH) } else { None };
        let path = path.and_then(|path| {
            section.accept(path.span, &section.path(&service::PATH), path.value.parse::<PathPrefix>())
        });
        let path = path.unwrap_or_default();
        let strip = if has_path { section.boolean(&service::STRIP).unwrap_or(false) } else { false };
        for (at, host) in section.texts(&workload::HOSTS).unwrap_or_default().into_iter().enumerate() {
            let origin = format!("{}[{at}]", section.path(&workload::HOSTS));
            if let Some(host) = self.host(section, &host, &origin) {
                add(host, path.clone(), strip, if has_path { section.path(&service::PATH) } else { origin });
            }
        }
        let tables = if section.has_own(&workload::ROUTES) { section.tables(&workload::ROUTES) } else { Vec::new() };
        section.note(&workload::ROUTES);
        for (at, table) in tables.into_iter().enumerate() {
            let host = match table.text(&route::HOST) {
                Some(host) => self.host(section, &host, &table.path(&route::HOST)),
                None => Some(HostPattern::any()),
            };
            let path = match table.text(&route::PATH) {
                Some(path) => table.accept(path.span, &table.path(&route::PATH), path.value.parse::<PathPrefix>()),
                None => Some(PathPrefix::default()),
            };
            let strip = table.boolean(&route::STRIP).unwrap_or(false);
            table.finish();
            if let (Some(host), Some(path)) = (host, path) {
                add(host, path, strip, format!("{}[{at}]", section.path(&workload::ROUTES)));
            }
        }
        if !section.has(&workload::HOSTS) && !section.has_own(&workload::ROUTES) {
            let origin = if has_path { section.path(&service::PATH) } else { "hosts".to_owned() };
            add(HostPattern::any(), path, strip, origin);
        }
        self.report_duplicates(&routes, &origins);
        (routes, origins)
    }

    fn host(&self, section: &Section<'_>, host: &Located<String>, path: &str) -> Option<HostPattern> {
        section.accept(host.span.clone(), path, host.value.parse::<HostPattern>())
    }

    pub(super) fn report_duplicates(&self, routes: &[Route], origins: &[String]) {
        let mut first: HashMap<(&HostPattern, &PathPrefix), &String> = HashMap::new();
        for (route, origin) in routes.iter().zip(origins) {
            let Some(earlier) = first.insert((&route.host, &route.path), origin) else { continue };
            if let (Some(here), Some(there)) = (self.report.span(origin), self.report.span(earlier)) {
                let message =
                    format!("the route for the host {} and the path {} appears twice", route.host, route.path);
                // Services are read in the order of their names, but the error shows the order of the file.
                let (there, here) = if here.start < there.start { (here, there) } else { (there, here) };
                self.report.at_both(here, &message, "again", there, "first here");
            }
        }
    }
}

/// Reads statuses: a number, a range such as `"200-399"`, or a list of both.
pub(super) fn statuses(table: &Section<'_>) -> Option<Vec<u16>> {
    let value = table.value(&health::STATUSES)?;
    let path = table.path(&health::STATUSES);
    let mut statuses = match value.get_ref().as_array() {
        None => some_statuses(table, value, &path)?,
        Some(items) => {
            let mut all = Vec::new();
            for (at, item) in items.iter().enumerate() {
                all.extend(some_statuses(table, item, &format!("{path}[{at}]"))?);
            }
            all
        }
    };
    statuses.sort_unstable();
    statuses.dedup();
    Some(statuses)
}

fn some_statuses(table: &Section<'_>, value: &Spanned<DeValue<'_>>, path: &str) -> Option<Vec<u16>> {
    match value.get_ref() {
        DeValue::Integer(_) => Some(vec![table.as_number(value, path)?]),
        DeValue::String(text) => {
            let range = parse_range(text)
                .ok_or_else(|| format!("{text:?} is not a status such as 200 or a range such as \"200-399\""));
            table.accept(value.span(), path, range)
        }
        _ => table.wrong_type(value, path, "a status such as 200, or a range such as \"200-399\""),
    }
}

fn parse_range(text: &str) -> Option<Vec<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| text.trim().parse::<u16>().ok().filter(|status| (100..=599).contains(status));
    let (first, last) = (status(first)?, status(last)?);
    (first <= last).then(|| (first..=last).collect())
}
