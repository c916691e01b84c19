//! A user's template for an application's file, which replaces the generated configuration: Go's `text/template` with
//! the facts of one application. Its output is tested alone like a generated file, and checked for what a cutover
//! needs: the addresses of the live slot, and the token of a preview.

use super::choice;
use super::files::{self, Files, HEADER_LINE};
use super::generate;
use super::settings::NginxConfig;
use super::syntax::{literal, quoted};
use super::template_facts::facts;
use gapless_core::{AppKey, RouteGroup, SlotRoute};
use gapless_gotemplate::{Function, Functions, Limits, Template, Value};
use std::path::{Path, PathBuf};

/// The maximum size of a template, in bytes.
const TEMPLATE_BYTES_MAX: u64 = 1 << 20;
/// The limits of one execution of a template.
const LIMITS: Limits = Limits { depth: 100, output_bytes: 1 << 20, steps: 1_000_000 };

/// A parsed template.
pub(super) struct Custom {
    path: PathBuf,
    template: Template,
    functions: Functions,
}

/// Why a template printed no file that could be tested.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CustomError {
    #[error("the template {} cannot be read: {why}; `template` in server.toml names it", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("the template has an error: {0}; fix it, then gapless continues by itself")]
    Invalid(String),
    #[error(
        "the template {} prints no address of {slot}, which is live, so no request would reach it; use the addresses in \
         `.Live`",
        path.display()
    )]
    NotRouted { path: PathBuf, slot: String },
    #[error(
        "the template {} must print the preview's token and an address of its slot, or gates would test the live release; \
         use `.Preview`",
        path.display()
    )]
    NotPreviewed { path: PathBuf },
}

impl Custom {
    /// Reads a template. Called for each change, so that a fixed template is used at once.
    pub(super) fn read(path: &Path) -> Result<Self, CustomError> {
        let unreadable = |why: String| CustomError::Unreadable { path: path.to_owned(), why };
        let metadata = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
        if !metadata.is_file() || metadata.len() > TEMPLATE_BYTES_MAX {
            return Err(unreadable("it must be a file of at most 1 MiB".to_owned()));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        let functions = functions();
        let template = Template::parse(&path.display().to_string(), &text, &functions);
        let template = template.map_err(|error| CustomError::Invalid(error.to_string()))?;
        Ok(Custom { path: path.to_owned(), template, functions })
    }

    /// The files of an application with the routes of `group`.
    pub(super) fn application(
        &self,
        key: &AppKey,
        group: &RouteGroup,
        settings: &NginxConfig,
    ) -> Result<Files, CustomError> {
        let printed = self.template.execute(&facts(key, group, settings), &self.functions, &LIMITS);
        let printed = printed.map_err(|error| CustomError::Invalid(error.to_string()))?;
        self.check_output(group, &printed)?;
        let mut all = generate::pages(key, group);
        all.insert(files::file_of(key), format!("{HEADER_LINE}{}\n", printed.trim_end()));
        Ok(all)
    }

    fn check_output(&self, group: &RouteGroup, printed: &str) -> Result<(), CustomError> {
        let path = || self.path.clone();
        let is_there = |slot: &SlotRoute| {
            let mut instances = slot.instances.iter().map(|instance| instance.address.to_string());
            slot.instances.is_empty() || instances.any(|address| printed.contains(&address))
        };
        if let Some(preview) = &group.preview {
            let has_token = printed.contains(&preview.token) || printed.contains(&literal(&preview.token));
            if !has_token || !is_there(&preview.slot) {
                return Err(CustomError::NotPreviewed { path: path() });
            }
        }
        let live = choice::weighted(group);
        match live.into_iter().find(|slot| group.maintenance.is_none() && !is_there(slot)) {
            Some(slot) => Err(CustomError::NotRouted { path: path(), slot: choice::label(slot) }),
            None => Ok(()),
        }
    }

    /// Adds the line that nginx's message names: the printed file does not exist anywhere to be read.
    pub(super) fn explain(&self, why: &str, key: &AppKey, files: &Files) -> String {
        let name = files::file_of(key);
        let line = why.rsplit_once(&format!("{name}:")).and_then(|(_, rest)| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            files.get(&name)?.lines().nth(digits.parse::<usize>().ok()?.checked_sub(1)?)
        });
        let shown = line.map(|line| format!(" (`{}`)", line.trim())).unwrap_or_default();
        format!("{why}{shown}, which the template {} printed", self.path.display())
    }
}

/// The pure functions of confd, and two functions for nginx's syntax.
fn functions() -> Functions {
    fn text(values: &[Value]) -> Result<&str, String> {
        let value = &values[0];
        value.as_text().ok_or_else(|| format!("expected a string, got a {}", value.type_name()))
    }
    let mut functions = gapless_render::pure_functions();
    functions.insert("quote", Function::new(1, |values| Ok(quoted(text(values)?).into())));
    functions.insert("regex", Function::new(1, |values| Ok(literal(text(values)?).into())));
    functions
}
