//! Which requests are the application's, and which answers to a health check are good ones.

use super::Reading;
use crate::section::{Located, Section};
use gapless_core::routes::Route;
use gapless_core::{HostPattern, PathPrefix};
use std::collections::HashMap;
use toml::Spanned;
use toml::de::DeValue;

impl Reading<'_> {
    /// The routes, and the path in the file that each came from.
    pub(super) fn routes(&self, root: &Section<'_>) -> (Vec<Route>, Vec<String>) {
        let mut routes = Vec::new();
        let mut origins = Vec::new();
        for (at, host) in root.texts("hosts").unwrap_or_default().into_iter().enumerate() {
            let origin = format!("hosts[{at}]");
            if let Some(host) = self.host(root, &host, &origin) {
                routes.push(Route { host, path: PathPrefix::default(), strip: false });
                origins.push(origin);
            }
        }
        for (at, table) in root.tables("routes").into_iter().enumerate() {
            let host = match table.text("host") {
                Some(host) => self.host(root, &host, &table.path("host")),
                None => Some(HostPattern::any()),
            };
            let path = match table.text("path") {
                Some(path) => table.accept(path.span, &table.path("path"), path.value.parse::<PathPrefix>()),
                None => Some(PathPrefix::default()),
            };
            let strip = table.boolean("strip").unwrap_or(false);
            table.finish();
            if let (Some(host), Some(path)) = (host, path) {
                routes.push(Route { host, path, strip });
                origins.push(format!("routes[{at}]"));
            }
        }
        if !root.has("hosts") && !root.has("routes") {
            routes.push(Route { host: HostPattern::any(), path: PathPrefix::default(), strip: false });
            origins.push("hosts".to_owned());
        }
        self.tell_of_duplicates(&routes, &origins);
        (routes, origins)
    }

    fn host(&self, section: &Section<'_>, host: &Located<String>, path: &str) -> Option<HostPattern> {
        section.accept(host.span.clone(), path, host.value.parse::<HostPattern>())
    }

    fn tell_of_duplicates(&self, routes: &[Route], origins: &[String]) {
        let mut first: HashMap<(&HostPattern, &PathPrefix), &String> = HashMap::new();
        for (route, origin) in routes.iter().zip(origins) {
            let Some(earlier) = first.insert((&route.host, &route.path), origin) else { continue };
            if let (Some(here), Some(there)) = (self.report.span(origin), self.report.span(earlier)) {
                let message =
                    format!("the route for the host {} and the path {} is there twice", route.host, route.path);
                self.report.at_both(here, &message, "again", there, "first here");
            }
        }
    }
}

/// Statuses: a number, a range such as `"200-399"`, or a list of these.
pub(super) fn statuses(table: &Section<'_>) -> Option<Vec<u16>> {
    let value = table.value("statuses")?;
    let path = table.path("statuses");
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
        _ => table.wrong(value, path, "a status such as 200, or a range such as \"200-399\""),
    }
}

fn parse_range(text: &str) -> Option<Vec<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| text.trim().parse::<u16>().ok().filter(|status| (100..=599).contains(status));
    let (first, last) = (status(first)?, status(last)?);
    (first <= last).then(|| (first..=last).collect())
}
