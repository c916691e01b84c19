//! One resource, from its keys to the reload: the steps in their order.

use crate::backend::Backend;
use crate::command;
use crate::error::RenderError;
use crate::functions::{self, Keyring};
use crate::keys::Keys;
use crate::resource::Resource;
use crate::stage::Wanted;
use gapless_gotemplate::{Element, Functions, Limits, Template, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempPath;

/// What holds for all resources.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Only say what would change.
    pub noop: bool,
    /// Leave the staged file where it is.
    pub keep_stage_file: bool,
    /// Run neither check nor reload.
    pub sync_only: bool,
    /// How long a check or a reload may take.
    pub command_deadline: Duration,
    /// What encrypted values are decrypted with.
    pub keyring: Option<Arc<Keyring>>,
}

/// What became of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The file is as it should be: nothing was written.
    Unchanged,
    /// The file was replaced.
    Updated,
    /// The file would be replaced, but nothing is to be.
    WouldUpdate,
}

/// Renders one resource. With `reload_is_due`, the reload is run even if the file is as it should be: it failed before.
///
/// # Errors
/// With what is wrong; the file that was there stays, but where the reload failed.
pub async fn render(
    resource: &Arc<Resource>,
    backend: &Backend,
    rules: &Rules,
    reload_is_due: bool,
) -> Result<Outcome, RenderError> {
    let values = backend.values(&resource.keys).await;
    let values = values.map_err(|error| RenderError::Backend { resource: resource.file.clone(), error })?;
    let keys = Arc::new(Keys::below(&resource.prefix, values));

    // Templates may look names up and read files, so they are executed where that is no harm.
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
        tracing::warn!("{} would be updated, but for -noop", resource.dest.display());
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
    wanted: Wanted,
    differs: bool,
    /// Gone with this, if it is still there.
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
    let wanted = Wanted::of(resource, text.into_bytes()).map_err(write)?;
    let differs = !wanted.is_there().map_err(write)?;
    // What is up to date costs no write at all.
    let mut staged = if differs && !noop || keep { Some(wanted.stage().map_err(write)?) } else { None };
    if let Some(path) = staged.as_mut().filter(|_| keep) {
        path.disable_cleanup(true);
        tracing::info!("the staged file is kept: {}", path.display());
    }
    Ok(Staged { wanted, differs, staged })
}

/// What the template prints.
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

/// Runs the check on the staged file, whose path is all that gets into the line.
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
    tracing::debug!("`{line}` says yes: {output}");
    Ok(())
}

async fn reload(resource: &Resource, rules: &Rules) -> Result<(), RenderError> {
    let Some(line) = resource.reload_cmd.as_ref().filter(|_| !rules.sync_only) else { return Ok(()) };
    let reloaded = command::run(line, rules.command_deadline).await;
    let output = reloaded.map_err(|error| RenderError::Reload { dest: resource.dest.clone(), error })?;
    tracing::debug!("`{line}` is done: {output}");
    Ok(())
}

async fn blocking<T: Send + 'static>(
    resource: &Resource,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RenderError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| RenderError::Interrupted { resource: resource.file.clone() })
}
