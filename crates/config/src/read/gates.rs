//! `[[gates]]` and `[approval]`: what a release has to pass before its cutover.

use super::Reading;
use crate::section::{Located, Section};
use gapless_core::Millis;
use gapless_core::gate::{
    Gate, GateCommand, GateContainer, GateKind, GateLoad, GateRequest, LatencyBounds, LoadRequest,
};
use gapless_core::spec::ApprovalRule;
use std::collections::BTreeMap;
use toml::de::DeValue;

const TIMEOUT: Millis = Millis::from_secs(300);
const APPROVAL_EXPIRES: Millis = Millis::from_secs(24 * 3600);
const LOAD_CONNECTIONS: u16 = 16;
const LOAD_DURATION: Millis = Millis::from_secs(10);
const ERRORS_MAX_PERCENT: f64 = 1.0;

impl Reading<'_> {
    pub(super) fn gates(&self, root: &Section<'_>) -> Vec<Gate> {
        let gates = root.tables("gates").into_iter().filter_map(|table| self.gate(table));
        gates.collect()
    }

    pub(super) fn approval(&self, table: Section<'_>) -> Option<ApprovalRule> {
        let rule = ApprovalRule {
            people: table.number("people").unwrap_or(1),
            by_others: table.boolean("by_others").unwrap_or(false),
            expires: table.duration("expires").unwrap_or(APPROVAL_EXPIRES),
        };
        table.finish();
        Some(rule)
    }

    fn gate(&self, table: Section<'_>) -> Option<Gate> {
        let name = table.text("name");
        if name.is_none() && !table.has("name") {
            table.missing("name", "name the gate, such as `name = \"smoke\"`");
        }
        let timeout = table.duration("timeout").unwrap_or(TIMEOUT);
        let retries = table.number("retries").unwrap_or(0);
        let parallel = table.boolean("parallel").unwrap_or(false);
        let kind = self.gate_kind(&table);
        table.finish();
        Some(Gate { name: name?.value, kind: kind?, timeout, retries, parallel })
    }

    fn gate_kind(&self, table: &Section<'_>) -> Option<GateKind> {
        let (image, command, user) = (table.text("image"), table.texts("command"), table.text("user"));
        let requests = table.tables("requests");
        let load = table.table("load");
        let kinds = [table.has("image") || table.has("command"), table.has("requests"), table.has("load")];
        match kinds.iter().filter(|is_there| **is_there).count() {
            0 => {
                table.missing("command", "give it a `command`, an `image`, `requests` or a `load`");
                return None;
            }
            1 => {}
            _ => {
                let message = format!("`{}` does more than one thing; make a gate of each", table.path("name"));
                self.report.at_path(&table.path("name"), message, "this gate");
                return None;
            }
        }
        if let Some(load) = load {
            return self.load(load).map(GateKind::Load);
        }
        if table.has("requests") {
            let requests: Vec<_> = requests.into_iter().filter_map(|request| self.request(request)).collect();
            return Some(GateKind::Http(requests));
        }
        let values = |texts: Vec<Located<String>>| texts.into_iter().map(|text| text.value).collect::<Vec<_>>();
        if let Some(image) = image {
            return Some(GateKind::Container(GateContainer { image: image.value, command: command.map(values) }));
        }
        let mut command = command?;
        if command.is_empty() {
            let path = table.path("command");
            self.report.at_path(&path, format!("`{path}` is empty; it is the program and its arguments"), "here");
            return None;
        }
        let program = command.remove(0);
        let path = format!("{}[0]", table.path("command"));
        let program = table.accept(program.span.clone(), &path, self.program(&program.value))?;
        let command = std::iter::once(program).chain(values(command)).collect();
        Some(GateKind::Command(GateCommand { command, user: user.map(|user| user.value) }))
    }

    fn request(&self, table: Section<'_>) -> Option<GateRequest> {
        let json = table.table("json").map(|table| self.json(&table)).unwrap_or_default();
        let request = GateRequest {
            method: table.text("method").map_or_else(|| "GET".to_owned(), |method| method.value),
            path: table.text("path").map_or_else(|| "/".to_owned(), |path| path.value),
            headers: table.table("headers").map(|table| self.headers(&table)).unwrap_or_default(),
            body: table.text("body").map(|body| body.value),
            status: table.number("status").unwrap_or(200),
            expect_headers: table.table("expect_headers").map(|table| self.headers(&table)).unwrap_or_default(),
            contains: table.texts("contains").unwrap_or_default().into_iter().map(|text| text.value).collect(),
            json,
            within: table.duration("within"),
        };
        table.finish();
        Some(request)
    }

    fn headers(&self, table: &Section<'_>) -> BTreeMap<String, String> {
        let texts = table.entries().filter_map(|(name, value)| match value.get_ref().as_str() {
            Some(text) => Some((name.get_ref().to_string(), text.to_owned())),
            None => table.wrong(value, &table.path(name.get_ref()), "a text in quotes"),
        });
        texts.collect()
    }

    fn json(&self, table: &Section<'_>) -> BTreeMap<String, serde_json::Value> {
        let values = table.entries().filter_map(|(pointer, value)| {
            let path = table.path(pointer.get_ref());
            let json = match value.get_ref() {
                DeValue::String(text) => text.to_string().into(),
                DeValue::Boolean(is_so) => (*is_so).into(),
                DeValue::Integer(number) => number.as_str().parse::<i64>().ok()?.into(),
                DeValue::Float(number) => number.as_str().parse::<f64>().ok()?.into(),
                _ => return table.wrong(value, &path, "a text, a number, or true or false"),
            };
            Some((pointer.get_ref().to_string(), json))
        });
        values.collect()
    }

    fn load(&self, table: Section<'_>) -> Option<GateLoad> {
        let requests = table.texts("requests").map(|texts| {
            let parsed = texts.into_iter().enumerate().filter_map(|(at, text)| {
                let path = format!("{}[{at}]", table.path("requests"));
                table.accept(text.span, &path, load_request(&text.value))
            });
            parsed.collect::<Vec<_>>()
        });
        let errors_max = table.percent("errors_max").unwrap_or(ERRORS_MAX_PERCENT);
        let load = GateLoad {
            rate_per_s: table.number("rate").unwrap_or(0),
            connections: table.number("connections").unwrap_or(LOAD_CONNECTIONS),
            duration: table.duration("duration").unwrap_or(LOAD_DURATION),
            requests: requests.unwrap_or_else(|| vec![LoadRequest { method: "GET".to_owned(), path: "/".to_owned() }]),
            errors_max_permille: (errors_max * 10.0).round() as u16,
            latency_max: LatencyBounds {
                p50: table.duration("p50_max"),
                p95: table.duration("p95_max"),
                p99: table.duration("p99_max"),
            },
            throughput_min: table.number("throughput_min").unwrap_or(0),
        };
        table.finish();
        Some(load)
    }
}

/// `GET /path`, or a path alone.
fn load_request(text: &str) -> Result<LoadRequest, String> {
    let (method, path) = text.split_once(' ').unwrap_or(("GET", text));
    if !path.starts_with('/') {
        return Err(format!("{text:?} is neither a path such as \"/\", nor a method and a path such as \"GET /\""));
    }
    Ok(LoadRequest { method: method.to_owned(), path: path.trim().to_owned() })
}
