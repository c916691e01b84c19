//! confd's template resources, unchanged: Go templates over keys from etcd, files, the environment or the gapless
//! server are rendered, compared, checked, moved into place atomically, and then the program is reloaded.

mod backend;
mod command;
mod error;
mod folder;
mod functions;
mod keys;
mod modes;
mod options;
mod path;
mod render;
mod resource;
mod stage;

pub use backend::{Backend, BackendError, BackendSettings, Change, EtcdSettings, FileSettings, TlsFiles, Watch};
pub use command::CommandError;
pub use error::RenderError;
pub use functions::{Keyring, KeyringError, LookupFailed, pure as pure_functions};
pub use modes::{Job, Tally, at_intervals, once, watching};
pub use options::{Mode, Options, OptionsError, Plan};
pub use render::{Outcome, Rules};
pub use resource::{Resource, ResourceError};
