//! Reads `[[gates]]` and `[approval]`: the tests and approvals of a release before its cutover.

use super::Reading;
use crate::keys::file;
use crate::keys::gates::{self, approval, load, request};
use crate::section::{Located, Section};
use gapless_core::gate::{
    Gate, GateCommand, GateContainer, GateKind, GateLoad, GateRequest, LatencyBounds, LoadRequest,
};
use gapless_core::spec::ApprovalRule;
use std::collections::BTreeMap;
use toml::de::DeValue;

impl Reading<'_> {
    pub(super) fn gates(&self, root: &Section<'_>) -> Vec<Gate> {
        let gates = root.tables(&file::GATES).into_iter().filter_map(|table| self.gate(table));
        gates.collect()
    }

    pub(super) fn approval(&self, table: Section<'_>) -> Option<ApprovalRule> {
        let rule = ApprovalRule {
            people: table.number(&approval::PEOPLE).unwrap_or(approval::PEOPLE_DEFAULT),
            by_others: table.boolean(&approval::BY_OTHERS).unwrap_or(false),
            expires: table.duration(&approval::EXPIRES).unwrap_or(approval::EXPIRES_DEFAULT),
        };
        table.finish();
        Some(rule)
    }

    fn gate(&self, table: Section<'_>) -> Option<Gate> {
        let name = table.text(&gates::NAME);
        if name.is_none() && !table.has(&gates::NAME) {
            table.missing(&gates::NAME, "name the gate, such as `name = \"smoke\"`");
        }
        let timeout = table.duration(&gates::TIMEOUT).unwrap_or(gates::TIMEOUT_DEFAULT);
        let retries = table.number(&gates::RETRIES).unwrap_or(0);
        let parallel = table.boolean(&gates::PARALLEL).unwrap_or(false);
        let kind = self.gate_kind(&table);
        table.finish();
        Some(Gate { name: name?.value, kind: kind?, timeout, retries, parallel })
    }

    fn gate_kind(&self, table: &Section<'_>) -> Option<GateKind> {
        let (image, command, user) =
            (table.text(&gates::IMAGE), table.texts(&gates::COMMAND), table.text(&gates::USER));
        let requests = table.tables(&gates::REQUESTS);
        let load = table.table(&gates::LOAD);
        let kinds = [
            table.has(&gates::IMAGE) || table.has(&gates::COMMAND),
            table.has(&gates::REQUESTS),
            table.has(&gates::LOAD),
        ];
        match kinds.iter().filter(|is_there| **is_there).count() {
            0 => {
                table.missing(&gates::COMMAND, "give it a `command`, an `image`, `requests` or a `load`");
                return None;
            }
            1 => {}
            _ => {
                let message = format!("`{}` has more than one test; write a gate for each", table.path(&gates::NAME));
                self.report.at_path(&table.path(&gates::NAME), message, "this gate");
                return None;
            }
        }
        if let Some(load) = load {
            return self.load(load).map(GateKind::Load);
        }
        if table.has(&gates::REQUESTS) {
            let requests: Vec<_> = requests.into_iter().filter_map(|request| self.request(request)).collect();
            return Some(GateKind::Http(requests));
        }
        let values = |texts: Vec<Located<String>>| texts.into_iter().map(|text| text.value).collect::<Vec<_>>();
        if let Some(image) = image {
            return Some(GateKind::Container(GateContainer { image: image.value, command: command.map(values) }));
        }
        let mut command = command?;
        if command.is_empty() {
            let path = table.path(&gates::COMMAND);
            self.report.at_path(&path, format!("`{path}` is empty; it is the program and its arguments"), "here");
            return None;
        }
        let program = command.remove(0);
        let path = format!("{}[0]", table.path(&gates::COMMAND));
        let program = table.accept(program.span.clone(), &path, self.program(&program.value))?;
        let command = std::iter::once(program).chain(values(command)).collect();
        Some(GateKind::Command(GateCommand { command, user: user.map(|user| user.value) }))
    }

    fn request(&self, table: Section<'_>) -> Option<GateRequest> {
        let json = table.table(&request::JSON).map(|table| self.json(&table)).unwrap_or_default();
        let request = GateRequest {
            method: table
                .text(&request::METHOD)
                .map_or_else(|| request::METHOD_DEFAULT.to_owned(), |method| method.value),
            path: table.text(&request::PATH).map_or_else(|| request::PATH_DEFAULT.to_owned(), |path| path.value),
            headers: table.table(&request::HEADERS).map(|table| self.headers(&table)).unwrap_or_default(),
            body: table.text(&request::BODY).map(|body| body.value),
            status: table.number(&request::STATUS).unwrap_or(request::STATUS_DEFAULT),
            expect_headers: table.table(&request::EXPECT_HEADERS).map(|table| self.headers(&table)).unwrap_or_default(),
            contains: table.texts(&request::CONTAINS).unwrap_or_default().into_iter().map(|text| text.value).collect(),
            json,
            within: table.duration(&request::WITHIN),
        };
        table.finish();
        Some(request)
    }

    fn headers(&self, table: &Section<'_>) -> BTreeMap<String, String> {
        let texts = table.entries().filter_map(|(name, value)| match value.get_ref().as_str() {
            Some(text) => Some((name.get_ref().to_string(), text.to_owned())),
            None => table.wrong_type(value, &table.path(name.get_ref()), "a text in quotes"),
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
                _ => return table.wrong_type(value, &path, "a text, a number, or true or false"),
            };
            Some((pointer.get_ref().to_string(), json))
        });
        values.collect()
    }

    fn load(&self, table: Section<'_>) -> Option<GateLoad> {
        let requests = table.texts(&load::REQUESTS).map(|texts| {
            let parsed = texts.into_iter().enumerate().filter_map(|(at, text)| {
                let path = format!("{}[{at}]", table.path(&load::REQUESTS));
                table.accept(text.span, &path, load_request(&text.value))
            });
            parsed.collect::<Vec<_>>()
        });
        let errors_max = table.percent(&load::ERRORS_MAX).unwrap_or(load::ERRORS_MAX_DEFAULT);
        let load = GateLoad {
            rate_per_s: table.number(&load::RATE).unwrap_or(0),
            connections: table.number(&load::CONNECTIONS).unwrap_or(load::CONNECTIONS_DEFAULT),
            duration: table.duration(&load::DURATION).unwrap_or(load::DURATION_DEFAULT),
            requests: requests.unwrap_or_else(default_requests),
            errors_max_permille: (errors_max * 10.0).round() as u16,
            latency_max: LatencyBounds {
                p50: table.duration(&load::P50_MAX),
                p95: table.duration(&load::P95_MAX),
                p99: table.duration(&load::P99_MAX),
            },
            throughput_min: table.number(&load::THROUGHPUT_MIN).unwrap_or(0),
        };
        table.finish();
        Some(load)
    }
}

fn default_requests() -> Vec<LoadRequest> {
    vec![LoadRequest { method: request::METHOD_DEFAULT.to_owned(), path: load::PATH_DEFAULT.to_owned() }]
}

/// Parses `GET /path`, or a path alone.
fn load_request(text: &str) -> Result<LoadRequest, String> {
    let (method, path) = text.split_once(' ').unwrap_or((request::METHOD_DEFAULT, text));
    if !path.starts_with('/') {
        return Err(format!("{text:?} is neither a path such as \"/\", nor a method and a path such as \"GET /\""));
    }
    Ok(LoadRequest { method: method.to_owned(), path: path.trim().to_owned() })
}
