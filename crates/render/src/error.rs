//! Errors of rendering.

use crate::backend::BackendError;
use crate::command::CommandError;
use crate::resource::ResourceError;
use gapless_gotemplate::TemplateError;
use std::path::PathBuf;

/// A resource that was not rendered. The old file is unchanged, unless the reload failed.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The resource is invalid.
    #[error(transparent)]
    Resource(#[from] ResourceError),
    /// The keys could not be read.
    #[error("{}: {error}", resource.display())]
    Backend {
        /// The resource's file.
        resource: PathBuf,
        /// The cause.
        error: BackendError,
    },
    /// The template cannot be read.
    #[error("{}: the template {} cannot be read: {error}", resource.display(), template.display())]
    Unreadable {
        /// The resource's file.
        resource: PathBuf,
        /// The template.
        template: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// The template is invalid, or its execution failed.
    #[error("{}/{error}", folder.display())]
    Template {
        /// The template's folder.
        folder: PathBuf,
        /// The error and its position.
        error: Box<TemplateError>,
    },
    /// The file cannot be written.
    #[error("{} cannot be written: {error}", dest.display())]
    Write {
        /// The file.
        dest: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// The check failed.
    #[error("{} is unchanged, because its check_cmd failed: {error}", dest.display())]
    Check {
        /// The file.
        dest: PathBuf,
        /// The command's error.
        error: CommandError,
    },
    /// The check's command is not a valid template.
    #[error("{}: check_cmd: {error}", resource.display())]
    CheckTemplate {
        /// The resource's file.
        resource: PathBuf,
        /// The error and its position.
        error: Box<TemplateError>,
    },
    /// The reload failed: the new file is in place, and no program has loaded it.
    #[error("{} was updated, but its reload_cmd failed: {error}", dest.display())]
    Reload {
        /// The file.
        dest: PathBuf,
        /// The command's error.
        error: CommandError,
    },
    /// The work was cancelled.
    #[error("{}: the work was interrupted", resource.display())]
    Interrupted {
        /// The resource's file.
        resource: PathBuf,
    },
}
