//! Renders one resource, from its keys to the reload.

use crate::backend::Backend;
use crate::command;
use crate::error::RenderError;
use crate::functions::{self, Keyring};
use crate::keys::Keys;
use crate::resource::Resource;
use crate::stage::NewFile;
use gapless_gotemplate::{Element, Functions, Limits, Template, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempPath;

/// The settings for all resources.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Only report what would change.
    pub noop: bool,
    /// Keep the staged file.
    pub keep_stage_file: bool,
    /// Run neither check nor reload.
    pub sync_only: bool,
    /// The deadline of a check or reload.
    pub command_deadline: Duration,
    /// The keyring for encrypted values.
    pub keyring: Option<Arc<Keyring>>,
}

/// The result of rendering a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The file was up to date: nothing was written.
    Unchanged,
    /// The file was replaced.
    Updated,
    /// The file would be replaced, but `-noop` is set.
    WouldUpdate,
}

/// Renders a resource. With `reload_is_due` the reload runs even if the file is up to date: it failed before.
///
/// # Errors
/// If any step fails; the old file stays, unless the reload failed.
pub async fn render(
    resource: &Arc<Resource>,
    backend: &Backend,
    rules: &Rules,
    reload_is_due: bool,
) -> Result<Outcome, RenderError> {
    let values = backend.values(&resource.keys).await;
    let values = values.map_err(|error| RenderError::Backend { resource: resource.file.clone(), error })?;
    let keys = Arc::new(Keys::below(&resource.prefix, values));

    // Templates may resolve names and read files, so they run on a thread that may block.
    let (one, keyring) = (Arc::clone(resource), rules.keyring.clone());
    let (keep, noop) = (rules.keep_stage_file, rules.noop);
    let staged = blocking(resource, move || stage(&one, &keys, keyring.as_ref(), keep, noop)).await??;
    let Staged { wanted, differs, staged } = staged;

    if !differs {
        tracing::debug!("{} is up to date", resource.dest.display());
        if reload_is_due && !rules.noop {
            reload(resource, rules).await?;
        }
        return Ok(Outcome::Unchanged);
    }
    if rules.noop {
        tracing::warn!("{} would be updated, without -noop", resource.dest.display());
        return Ok(Outcome::WouldUpdate);
    }
    let Some(staged) = staged else {
        return Err(RenderError::Interrupted { resource: resource.file.clone() });
    };
    tracing::info!("{} is out of date", resource.dest.display());
    check(resource, rules, &staged).await?;
    let placed = blocking(resource, move || wanted.place(&staged)).await?;
    placed.map_err(|error| RenderError::Write { dest: resource.dest.clone(), error })?;
    tracing::info!("{} has been updated", resource.dest.display());
    reload(resource, rules).await?;
    Ok(Outcome::Updated)
}

struct Staged {
    wanted: NewFile,
    differs: bool,
    /// Removed when dropped, unless it was renamed.
    staged: Option<TempPath>,
}

fn stage(
    resource: &Resource,
    keys: &Arc<Keys>,
    keyring: Option<&Arc<Keyring>>,
    keep: bool,
    noop: bool,
) -> Result<Staged, RenderError> {
    let write = |error| RenderError::Write { dest: resource.dest.clone(), error };
    let text = text(resource, keys, keyring)?;
    let wanted = NewFile::of(resource, text.into_bytes()).map_err(write)?;
    let differs = !wanted.is_up_to_date().map_err(write)?;
    // A file that is up to date costs no write.
    let mut staged = if differs && !noop || keep { Some(wanted.stage().map_err(write)?) } else { None };
    if let Some(path) = staged.as_mut().filter(|_| keep) {
        path.disable_cleanup(true);
        tracing::info!("keeping the staged file {}", path.display());
    }
    Ok(Staged { wanted, differs, staged })
}

/// The template's output.
fn text(resource: &Resource, keys: &Arc<Keys>, keyring: Option<&Arc<Keyring>>) -> Result<String, RenderError> {
    let source = std::fs::read_to_string(&resource.src).map_err(|error| RenderError::Unreadable {
        resource: resource.file.clone(),
        template: resource.src.clone(),
        error,
    })?;
    let name = resource.src.file_name().unwrap_or_default().to_string_lossy();
    let functions = functions::all(keys, keyring);
    let printed = Template::parse(&name, &source, &functions)
        .and_then(|template| template.execute(&Value::Nil, &functions, &Limits::default()));
    printed.map_err(|error| RenderError::Template {
        folder: resource.src.parent().unwrap_or(Path::new(".")).into(),
        error: Box::new(error),
    })
}

/// Runs the check on the staged file, whose path is the only value inserted into the shell line.
async fn check(resource: &Resource, rules: &Rules, staged: &Path) -> Result<(), RenderError> {
    let Some(check) = resource.check_cmd.as_ref().filter(|_| !rules.sync_only) else { return Ok(()) };
    let functions = Functions::default();
    let src = Value::from(staged.to_string_lossy().into_owned());
    let data = Value::map(Element::Text, BTreeMap::from([("src".to_owned(), src)]));
    let line = Template::parse("check_cmd", check, &functions)
        .and_then(|template| template.execute(&data, &functions, &Limits::default()));
    let line =
        line.map_err(|error| RenderError::CheckTemplate { resource: resource.file.clone(), error: Box::new(error) })?;
    let checked = command::run(&line, rules.command_deadline).await;
    let output = checked.map_err(|error| RenderError::Check { dest: resource.dest.clone(), error })?;
    tracing::debug!("`{line}` passed: {output}");
    Ok(())
}

async fn reload(resource: &Resource, rules: &Rules) -> Result<(), RenderError> {
    let Some(line) = resource.reload_cmd.as_ref().filter(|_| !rules.sync_only) else { return Ok(()) };
    let reloaded = command::run(line, rules.command_deadline).await;
    let output = reloaded.map_err(|error| RenderError::Reload { dest: resource.dest.clone(), error })?;
    tracing::debug!("`{line}` finished: {output}");
    Ok(())
}

async fn blocking<T: Send + 'static>(
    resource: &Resource,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RenderError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| RenderError::Interrupted { resource: resource.file.clone() })
}
