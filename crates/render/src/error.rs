//! Why a resource was not rendered.

use crate::backend::BackendError;
use crate::command::CommandError;
use crate::resource::ResourceError;
use gapless_gotemplate::TemplateError;
use std::path::PathBuf;

/// Why a resource was not rendered. The file that was there is still there, unless it is the reload that failed.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The resource is none.
    #[error(transparent)]
    Resource(#[from] ResourceError),
    /// The keys could not be had.
    #[error("{}: {error}", resource.display())]
    Backend {
        /// The file of the resource.
        resource: PathBuf,
        /// Why.
        error: BackendError,
    },
    /// The template cannot be read.
    #[error("{}: the template {} cannot be read: {error}", resource.display(), template.display())]
    Unreadable {
        /// The file of the resource.
        resource: PathBuf,
        /// The template.
        template: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The template is wrong, or asks for what is not there.
    #[error("{}/{error}", folder.display())]
    Template {
        /// The template's folder.
        folder: PathBuf,
        /// What is wrong, and where.
        error: Box<TemplateError>,
    },
    /// The file cannot be written.
    #[error("{} cannot be written: {error}", dest.display())]
    Write {
        /// The file.
        dest: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The check says no.
    #[error("{} stays as it is, since its check_cmd failed: {error}", dest.display())]
    Check {
        /// The file.
        dest: PathBuf,
        /// What the command said.
        error: CommandError,
    },
    /// The check's command is no template.
    #[error("{}: check_cmd: {error}", resource.display())]
    CheckTemplate {
        /// The file of the resource.
        resource: PathBuf,
        /// What is wrong, and where.
        error: Box<TemplateError>,
    },
    /// The reload failed: the new file is in its place, and nobody has read it.
    #[error("{} was updated, but its reload_cmd failed: {error}", dest.display())]
    Reload {
        /// The file.
        dest: PathBuf,
        /// What the command said.
        error: CommandError,
    },
    /// It was given up in the middle.
    #[error("{}: the work was interrupted", resource.display())]
    Interrupted {
        /// The file of the resource.
        resource: PathBuf,
    },
}
