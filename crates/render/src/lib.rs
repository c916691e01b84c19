//! confd's template resources, unchanged: Go templates over keys from etcd, files, the environment or the gapless
//! server are rendered, compared, checked, moved into place atomically, and then the program is reloaded.

// The pure functions alone leave some of their helpers unused.
#![cfg_attr(not(feature = "full"), allow(dead_code))]

#[cfg(feature = "full")]
mod backend;
#[cfg(feature = "full")]
mod command;
#[cfg(feature = "full")]
mod error;
#[cfg(feature = "full")]
mod folder;
mod functions;
#[cfg(feature = "full")]
mod keys;
#[cfg(feature = "full")]
mod modes;
#[cfg(feature = "full")]
mod options;
mod path;
#[cfg(feature = "full")]
mod render;
#[cfg(feature = "full")]
mod resource;
#[cfg(feature = "full")]
mod stage;

#[cfg(feature = "full")]
pub use backend::{Backend, BackendError, BackendSettings, Change, EtcdSettings, FileSettings, TlsFiles, Watch};
#[cfg(feature = "full")]
pub use command::CommandError;
#[cfg(feature = "full")]
pub use error::RenderError;
pub use functions::pure as pure_functions;
#[cfg(feature = "full")]
pub use functions::{Keyring, KeyringError, LookupFailed};
#[cfg(feature = "full")]
pub use modes::{Job, Tally, at_intervals, once, watching};
#[cfg(feature = "full")]
pub use options::{Mode, Options, OptionsError, Plan};
#[cfg(feature = "full")]
pub use render::{Outcome, Rules};
#[cfg(feature = "full")]
pub use resource::{Resource, ResourceError};
