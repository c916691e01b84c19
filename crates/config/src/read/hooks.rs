//! Reads `[[hooks]]`, `[[migrate]]`, `[hold]` and `[maintenance]`: commands of a deployment, and requests meanwhile.

use super::Reading;
use crate::keys::hooks::{self, hold, maintenance, migrate};
use crate::keys::{Key, file};
use crate::section::{Located, Section};
use gapless_core::gate::{GateCommand, GateContainer};
use gapless_core::hook::{Hook, HookPoint, HookRun, Migration};
use gapless_core::spec::HoldSettings;

impl Reading<'_> {
    pub(super) fn hooks(&self, root: &Section<'_>) -> Vec<Hook> {
        let mut hooks: Vec<_> = root.tables(&file::HOOKS).into_iter().filter_map(|table| self.hook(table)).collect();
        for table in root.tables(&file::MIGRATE) {
            // The spec has migrations in its list of hooks.
            let at = hooks.len();
            let fields: [(&'static Key, &str); 4] = [
                (&hooks::NAME, "name"),
                (&migrate::WHEN, "at"),
                (&migrate::TIMEOUT, "timeout"),
                (&hooks::COMMAND, "command"),
            ];
            for (key, field) in fields {
                table.record_span_as(key, format!("hooks[{at}].{field}"));
            }
            hooks.extend(self.migration(table));
        }
        hooks
    }

    fn hook(&self, table: Section<'_>) -> Option<Hook> {
        let points = [
            HookPoint::BeforeStart,
            HookPoint::BeforeCutover,
            HookPoint::AfterCutover,
            HookPoint::AfterSuccess,
            HookPoint::OnFailure,
        ];
        let names = points.map(|point| (point.as_str(), point));
        let (name, at) = (self.hook_name(&table), self.point(&table, &hooks::AT, &names));
        let timeout = table.duration(&hooks::TIMEOUT).unwrap_or(hooks::TIMEOUT_DEFAULT);
        let run = self.run(&table, &hooks::COMMAND);
        table.finish();
        Some(Hook { name: name?, at: at?, run: run?, timeout, migration: None })
    }

    fn migration(&self, table: Section<'_>) -> Option<Hook> {
        let names =
            [("before", HookPoint::BeforeCutover), ("held", HookPoint::Held), ("after", HookPoint::AfterSuccess)];
        let (name, at) = (self.hook_name(&table), self.point(&table, &migrate::WHEN, &names));
        let default = if at == Some(HookPoint::Held) { hooks::HELD_TIMEOUT_DEFAULT } else { hooks::TIMEOUT_DEFAULT };
        let timeout = table.duration(&migrate::TIMEOUT).unwrap_or(default);
        let run = self.run(&table, &hooks::COMMAND);
        let back = if table.has(&migrate::BACK) { self.run(&table, &migrate::BACK) } else { None };
        table.finish();
        Some(Hook { name: name?, at: at?, run: run?, timeout, migration: Some(Migration { back }) })
    }

    fn hook_name(&self, table: &Section<'_>) -> Option<String> {
        let name = table.text(&hooks::NAME);
        if name.is_none() && !table.has(&hooks::NAME) {
            table.missing(&hooks::NAME, "name it, such as `name = \"schema\"`");
        }
        Some(name?.value)
    }

    fn point(&self, table: &Section<'_>, key: &'static Key, points: &[(&'static str, HookPoint)]) -> Option<HookPoint> {
        let known = || points.iter().map(|(name, _)| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        let Some(chosen) = table.text(key) else {
            if !table.has(key) {
                table.missing(key, "name the point of the deployment");
            }
            return None;
        };
        let found = points.iter().find(|(name, _)| *name == chosen.value).map(|(_, point)| *point);
        if found.is_none() {
            let path = table.path(key);
            self.report.at_path(
                &path,
                format!("`{path}` is {:?}; possible values are {}", chosen.value, known()),
                "here",
            );
        }
        found
    }

    /// A program of the host; with an image, a command of that image.
    fn run(&self, table: &Section<'_>, command: &'static Key) -> Option<HookRun> {
        let (image, words, user) = (table.text(&hooks::IMAGE), table.texts(command), table.text(&hooks::USER));
        let values = |texts: Vec<Located<String>>| texts.into_iter().map(|text| text.value).collect::<Vec<_>>();
        if let Some(image) = image {
            return Some(HookRun::Container(GateContainer { image: image.value, command: words.map(values) }));
        }
        let Some(mut words) = words else {
            if !table.has(command) {
                table.missing(command, "the program and its arguments, or an `image`");
            }
            return None;
        };
        let path = table.path(command);
        if words.is_empty() {
            self.report.at_path(&path, format!("`{path}` is empty; it is the program and its arguments"), "here");
            return None;
        }
        let program = words.remove(0);
        let program = table.accept(program.span.clone(), &format!("{path}[0]"), self.program(&program.value))?;
        let command = std::iter::once(program).chain(values(words)).collect();
        Some(HookRun::Command(GateCommand { command, user: user.map(|user| user.value) }))
    }

    /// The page of `[maintenance]`.
    pub(super) fn maintenance(&self, table: Section<'_>) -> Option<String> {
        let page = table.text(&maintenance::PAGE).and_then(|page| self.page(&page, "the maintenance page"));
        table.finish();
        page
    }
}

pub(super) fn hold(table: Section<'_>) -> HoldSettings {
    let default = HoldSettings::default();
    let hold = HoldSettings {
        timeout: table.duration(&hold::TIMEOUT).unwrap_or(default.timeout),
        drain: table.duration(&hold::DRAIN).unwrap_or(default.drain),
        requests_max: table.number(&hold::REQUESTS_MAX).unwrap_or(default.requests_max),
        bytes_max: table.size(&hold::BYTES_MAX).unwrap_or(default.bytes_max),
    };
    table.finish();
    hold
}
