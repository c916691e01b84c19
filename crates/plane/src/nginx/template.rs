//! The user's own template for an application's file, in the stead of what gapless generates: Go's `text/template` over
//! the facts of one application. What it prints is tested apart like anything else, and looked through for what a cutover
//! needs: that the live slot's addresses are in it, and a preview's token.

use super::choice;
use super::files::{self, Files, OWN};
use super::generate;
use super::settings::NginxConfig;
use super::syntax::{literal, quoted};
use super::template_facts::facts;
use gapless_core::{AppKey, RouteGroup, SlotRoute};
use gapless_gotemplate::{Function, Functions, Limits, Template, Value};
use std::path::{Path, PathBuf};

/// The largest template that is read, in bytes.
const TEMPLATE_BYTES_MAX: u64 = 1 << 20;
/// The most that one may print for an application, and what it may cost.
const LIMITS: Limits = Limits { depth: 100, output_bytes: 1 << 20, steps: 1_000_000 };

/// A template that was read.
pub(super) struct Custom {
    path: PathBuf,
    template: Template,
    functions: Functions,
}

/// Why there is nothing to test.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CustomError {
    #[error("the template {} cannot be read: {why}; `template` in server.toml names it", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("the template is mistaken: {0}; mend it, and gapless goes on by itself")]
    Mistaken(String),
    #[error(
        "the template {} prints none of the addresses of {slot}, which is live, so no request would get there; `.Live` has them",
        path.display()
    )]
    NotRouted { path: PathBuf, slot: String },
    #[error(
        "the template {} does not print the token of the preview or none of its slot's addresses, so the live release would be tested in its stead; `.Preview` has them",
        path.display()
    )]
    NotPreviewed { path: PathBuf },
}

impl Custom {
    /// Reads it; it is read anew for each change, so that a mended one is found.
    pub(super) fn read(path: &Path) -> Result<Self, CustomError> {
        let unreadable = |why: String| CustomError::Unreadable { path: path.to_owned(), why };
        let metadata = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
        if !metadata.is_file() || metadata.len() > TEMPLATE_BYTES_MAX {
            return Err(unreadable("it is not a file of at most 1 MiB".to_owned()));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        let functions = functions();
        let template = Template::parse(&path.display().to_string(), &text, &functions);
        let template = template.map_err(|error| CustomError::Mistaken(error.to_string()))?;
        Ok(Custom { path: path.to_owned(), template, functions })
    }

    /// The files of an application that is routed like that.
    pub(super) fn application(
        &self,
        key: &AppKey,
        group: &RouteGroup,
        settings: &NginxConfig,
    ) -> Result<Files, CustomError> {
        let printed = self.template.execute(&facts(key, group, settings), &self.functions, &LIMITS);
        let printed = printed.map_err(|error| CustomError::Mistaken(error.to_string()))?;
        self.look_through(group, &printed)?;
        let mut all = generate::pages(key, group);
        all.insert(files::file_of(key), format!("{OWN}{}\n", printed.trim_end()));
        Ok(all)
    }

    fn look_through(&self, group: &RouteGroup, printed: &str) -> Result<(), CustomError> {
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

    /// What nginx says of what was printed, with the line that it names: that file is nowhere to be looked at.
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

/// confd's functions that depend on nothing but their arguments, and two for nginx's syntax.
fn functions() -> Functions {
    fn text(values: &[Value]) -> Result<&str, String> {
        let value = &values[0];
        value.as_text().ok_or_else(|| format!("wants a string, got a {}", value.type_name()))
    }
    let mut functions = gapless_render::pure_functions();
    functions.insert("quote", Function::new(1, |values| Ok(quoted(text(values)?).into())));
    functions.insert("regex", Function::new(1, |values| Ok(literal(text(values)?).into())));
    functions
}
