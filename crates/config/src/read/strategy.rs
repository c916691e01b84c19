//! Reads `[strategy]` and `[judge]`: the way of requests to a new release, and the evidence against it.

use super::Reading;
use crate::keys::Key;
use crate::keys::strategy::{self, judge, matcher, step};
use crate::section::Section;
use gapless_core::PathPrefix;
use gapless_core::gate::LatencyBounds;
use gapless_core::strategy::{Canary, CanaryStep, Choose, JudgeRule, Matcher, Strategy};

/// The keys that only a canary has.
const OF_A_CANARY: [&Key; 5] =
    [&strategy::BY, &strategy::HEADER, &strategy::MATCH, &strategy::STEPS, &strategy::EXPIRES];

impl Reading<'_> {
    pub(super) fn strategy(&self, table: Section<'_>) -> Option<Strategy> {
        let kind = table.text(&strategy::KIND);
        // All keys are taken, so that a key of a canary in a blue-green strategy is not reported as unknown.
        let of_a_canary = OF_A_CANARY.into_iter().find(|key| table.has(key));
        let is_canary = match kind.as_ref().map(|kind| kind.value.as_str()) {
            Some("blue-green") => false,
            Some("canary") => true,
            None => of_a_canary.is_some(),
            Some(other) => {
                let message =
                    format!("`strategy.kind` is {other:?}; possible values are \"blue-green\" and \"canary\"");
                self.report.at_path(&table.path(&strategy::KIND), message, "here");
                return None;
            }
        };
        let canary = self.canary(&table, is_canary);
        if let (false, Some(key)) = (is_canary, of_a_canary) {
            let path = table.path(key);
            self.report.at_path(&path, format!("`{path}` is for a canary: write kind = \"canary\""), "here");
        }
        table.finish();
        if is_canary { canary.map(Strategy::Canary) } else { Some(Strategy::BlueGreen) }
    }

    fn canary(&self, table: &Section<'_>, is_canary: bool) -> Option<Canary> {
        let by = table.text(&strategy::BY);
        let header = table.text(&strategy::HEADER);
        let matchers: Vec<_> =
            table.tables(&strategy::MATCH).into_iter().filter_map(|table| self.matcher(table)).collect();
        let choose = match by.as_ref().map_or(strategy::BY_DEFAULT, |by| by.value.as_str()) {
            "random" => Some(Choose::Random),
            "sticky" => Some(Choose::Sticky),
            "hash" if header.is_none() => {
                table.missing(
                    &strategy::HEADER,
                    "name the header whose values are divided, such as `header = \"x-user\"`",
                );
                None
            }
            "hash" => header.as_ref().map(|header| Choose::Hash { header: header.value.clone() }),
            "match" if !table.has(&strategy::MATCH) => {
                table.missing(
                    &strategy::MATCH,
                    "name the requests, such as `match = [{ header = \"x-beta\", value = \"1\" }]`",
                );
                None
            }
            "match" => Some(Choose::Match(matchers)),
            other => {
                let message = format!(
                    "`strategy.by` is {other:?}; possible values are \"random\", \"sticky\", \"hash\" and \"match\""
                );
                self.report.at_path(&table.path(&strategy::BY), message, "here");
                None
            }
        };
        let is_matched = matches!(choose, Some(Choose::Match(_)));
        let is_hashed = matches!(choose, Some(Choose::Hash { .. }));
        for (key, by, is_used) in [(&strategy::HEADER, "hash", is_hashed), (&strategy::MATCH, "match", is_matched)] {
            if table.has(key) && choose.is_some() && !is_used {
                let path = table.path(key);
                self.report.at_path(&path, format!("`{path}` goes with by = {by:?}"), "here");
            }
        }
        let steps = self.steps(table, is_matched);
        if is_canary && !table.has(&strategy::STEPS) {
            table.missing(
                &strategy::STEPS,
                "write the steps, such as `steps = [{ weight = \"10%\", pause = \"2m\" }, { weight = \"50%\" }]`",
            );
        }
        let expires = table.duration(&strategy::EXPIRES).unwrap_or(strategy::EXPIRES_DEFAULT);
        Some(Canary { steps, choose: choose?, expires })
    }

    fn steps(&self, table: &Section<'_>, is_matched: bool) -> Vec<CanaryStep> {
        let tables = table.tables(&strategy::STEPS);
        let last = tables.len().saturating_sub(1);
        let mut steps = Vec::new();
        for (index, step) in tables.into_iter().enumerate() {
            let (weight, pause) = (step.percent(&step::WEIGHT), step.duration(&step::PAUSE));
            let path = step.path(&step::WEIGHT);
            let weight = match weight {
                Some(_) if is_matched => {
                    let message = format!("`{path}`: all matching requests go to the new release; remove this key");
                    self.report.at_path(&path, message, "here");
                    None
                }
                // The cutover follows the last step without a step of its own, but users often write such a step.
                Some(100.0) if index == last && pause.is_none() && !steps.is_empty() => {
                    step.finish();
                    continue;
                }
                Some(weight) if weight.fract() != 0.0 || !(1.0..=99.0).contains(&weight) => {
                    let message = format!(
                        "`{path}` must be a whole percentage from 1 to 99; with 100 the canary is over, after its last step"
                    );
                    self.report.at_path(&path, message, "here");
                    None
                }
                Some(weight) => Some(weight as u8),
                None if is_matched => Some(1),
                None => {
                    if !step.has(&step::WEIGHT) {
                        step.missing(&step::WEIGHT, "write the share of the requests, such as `weight = \"10%\"`");
                    }
                    None
                }
            };
            step.finish();
            steps.extend(weight.map(|weight| CanaryStep { weight, pause }));
        }
        steps
    }

    fn matcher(&self, table: Section<'_>) -> Option<Matcher> {
        let (header, cookie, path) =
            (table.text(&matcher::HEADER), table.text(&matcher::COOKIE), table.text(&matcher::PATH));
        let value = table.text(&matcher::VALUE);
        let count = [header.is_some(), cookie.is_some(), path.is_some()].into_iter().filter(|is| *is).count();
        let matcher = match (header, cookie, path, value) {
            _ if count != 1 => {
                table.missing(
                    &matcher::HEADER,
                    "write a `header` and its `value`, a `cookie` and its `value`, or a `path`",
                );
                None
            }
            (Some(name), _, _, Some(value)) => Some(Matcher::Header { name: name.value, value: value.value }),
            (_, Some(name), _, Some(value)) => Some(Matcher::Cookie { name: name.value, value: value.value }),
            (_, _, Some(path), None) => {
                let prefix =
                    table.accept(path.span.clone(), &table.path(&matcher::PATH), path.value.parse::<PathPrefix>());
                prefix.map(Matcher::Path)
            }
            (_, _, Some(_), Some(_)) => {
                let path = table.path(&matcher::VALUE);
                self.report.at_path(&path, format!("`{path}`: a path has no value"), "here");
                None
            }
            _ => {
                table.missing(&matcher::VALUE, "write the value of the header or cookie");
                None
            }
        };
        table.finish();
        matcher
    }
}

pub(super) fn judge(table: Section<'_>) -> JudgeRule {
    let default = JudgeRule::default();
    let judge = JudgeRule {
        false_alarms: table
            .percent(&judge::FALSE_ALARMS)
            .map_or(default.false_alarms, |percent| (percent * 100.0).round() as u16),
        slower_percent: table.number(&judge::SLOWER_PERCENT).unwrap_or(default.slower_percent),
        slower_by: table.duration(&judge::SLOWER_BY).unwrap_or(default.slower_by),
        requests_min: table.number(&judge::REQUESTS_MIN).unwrap_or(default.requests_min),
        errors_max_permille: table.percent(&judge::ERRORS_MAX).map(|percent| (percent * 10.0).round() as u16),
        latency_max: LatencyBounds {
            p50: table.duration(&judge::P50_MAX),
            p95: table.duration(&judge::P95_MAX),
            p99: table.duration(&judge::P99_MAX),
        },
    };
    table.finish();
    judge
}
