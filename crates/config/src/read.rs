//! Reads each table of `gapless.toml` into the spec.

mod environments;
mod files;
mod gates;
mod hooks;
mod requests;
mod services;
mod strategy;
mod workload;

use crate::keys::file;
use crate::keys::traffic::{deploy, proxy};
use crate::options::LoadOptions;
use crate::report::Report;
use crate::section::Section;
use gapless_core::spec::{ForwardSettings, Timing};
use gapless_core::strategy::Strategy;
use gapless_core::{AppName, EnvName, Spec};
use std::cell::RefCell;
use std::path::PathBuf;

/// The state of reading one file.
pub(crate) struct Reading<'a> {
    report: &'a Report,
    /// The folder for relative paths; absolute.
    base: PathBuf,
    options: &'a LoadOptions,
    /// The other files that were read.
    files: RefCell<Vec<PathBuf>>,
    /// The environments that the file has tables for.
    environments: RefCell<Vec<EnvName>>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(report: &'a Report, base: PathBuf, options: &'a LoadOptions) -> Self {
        Reading { report, base, options, files: RefCell::default(), environments: RefCell::default() }
    }

    /// The other files that were read, and the environments that the file has tables for.
    pub(crate) fn into_parts(self) -> (Vec<PathBuf>, Vec<EnvName>) {
        (self.files.into_inner(), self.environments.into_inner())
    }

    /// Reads the whole file: the spec, and the path in the file of each of its routes.
    pub(crate) fn spec(&self, root: Section<'_>) -> Option<(Spec, Vec<String>)> {
        let (root, env) = self.in_environment(root)?;
        root.note(&file::ENVIRONMENTS);
        let app = self.app(&root);
        let requires = self.requires(&root);
        let promote_auto = self.promote(&root, &requires);
        let (services, routes, origins) = self.services(&root);
        let forward = root.table(&file::PROXY).map(|table| self.forward(table)).unwrap_or_default();
        let maintenance_page = root.table(&file::MAINTENANCE).and_then(|table| self.maintenance(table));
        let forward = ForwardSettings { maintenance_page, ..forward };
        let hooks = self.hooks(&root);
        let hold = root.table(&file::HOLD).map(hooks::hold).unwrap_or_default();
        let timing = root.table(&file::DEPLOY).map(timing).unwrap_or_default();
        let gates = self.gates(&root);
        let approval = root.table(&file::APPROVAL).and_then(|table| self.approval(table));
        let strategy = match root.table(&file::STRATEGY) {
            Some(table) => self.strategy(table),
            None => Some(Strategy::BlueGreen),
        };
        let judge = root.table(&file::JUDGE).map(strategy::judge).unwrap_or_default();
        root.finish();
        let spec = Spec {
            app: app?,
            env,
            requires,
            promote_auto,
            services: services?,
            routes,
            forward,
            gates,
            approval,
            hooks,
            hold,
            strategy: strategy?,
            judge,
            timing,
        };
        Some((spec, origins))
    }

    fn app(&self, root: &Section<'_>) -> Option<AppName> {
        let Some(name) = root.text(&file::NAME) else {
            if !root.has(&file::NAME) {
                root.missing(&file::NAME, "name the application at the top of the file, such as `name = \"shop\"`");
            }
            return None;
        };
        root.accept(name.span, "name", name.value.parse::<AppName>())
    }
}

fn timing(table: Section<'_>) -> Timing {
    let default = Timing::default();
    let timing = Timing {
        prepare_timeout: table.duration(&deploy::PREPARE_TIMEOUT).unwrap_or(default.prepare_timeout),
        start_timeout: table.duration(&deploy::START_TIMEOUT).unwrap_or(default.start_timeout),
        shift_timeout: table.duration(&deploy::SHIFT_TIMEOUT).unwrap_or(default.shift_timeout),
        observe: table.duration(&deploy::OBSERVE).unwrap_or(default.observe),
        drain_timeout: table.duration(&deploy::DRAIN_TIMEOUT).unwrap_or(default.drain_timeout),
        stop_timeout: table.duration(&deploy::STOP_TIMEOUT).unwrap_or(default.stop_timeout),
        keep_warm: table.duration(&deploy::KEEP_WARM).unwrap_or(default.keep_warm),
        park: table.boolean(&deploy::PARK).unwrap_or(default.park),
        keep: table.number(&deploy::KEEP).unwrap_or(default.keep),
    };
    table.finish();
    timing
}

impl Reading<'_> {
    fn forward(&self, table: Section<'_>) -> ForwardSettings {
        let default = ForwardSettings::default();
        let retry_after = table.duration(&proxy::RETRY_AFTER);
        if let Some(wait) = retry_after
            && !wait.0.is_multiple_of(1000)
        {
            self.report.at_path(
                &table.path(&proxy::RETRY_AFTER),
                "`proxy.retry_after` must be in whole seconds",
                "here",
            );
        }
        let forward = ForwardSettings {
            connect_timeout: table.duration(&proxy::CONNECT_TIMEOUT).unwrap_or(default.connect_timeout),
            first_byte_timeout: table.duration(&proxy::RESPONSE_TIMEOUT).unwrap_or(default.first_byte_timeout),
            idle_body_timeout: table.duration(&proxy::IDLE_TIMEOUT).unwrap_or(default.idle_body_timeout),
            trust_forwarded: table.boolean(&proxy::TRUST_FORWARDED).unwrap_or(default.trust_forwarded),
            retry_after_s: retry_after
                .map_or(default.retry_after_s, |wait| u32::try_from(wait.0 / 1000).unwrap_or(u32::MAX)),
            error_page: table.text(&proxy::ERROR_PAGE).and_then(|page| self.page(&page, "the error page")),
            maintenance_page: None,
        };
        table.finish();
        forward
    }
}
