//! Settings from the command line that override the file.

use gapless_core::{EnvName, ServiceName};
use std::collections::BTreeMap;
use std::ffi::OsString;

/// Settings from the command line; they override those of the file.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The image to run, for the services that have no image of their own.
    pub image: Option<String>,
    /// Images of services, in place of those of the file.
    pub images: BTreeMap<ServiceName, String>,
    /// The environment to deploy into.
    pub environment: Option<EnvName>,
    /// Environment variables that override those of the file.
    pub variables: BTreeMap<String, String>,
    /// The source of the values of secrets.
    pub secrets: Secrets,
    /// The search path for the program of a process, in the form of `PATH`; without it, `PATH` of this process.
    pub search_path: Option<OsString>,
}

/// The source of the values of secrets.
#[derive(Debug, Clone, Default)]
pub enum Secrets {
    /// The environment of this process.
    #[default]
    Environment,
    /// These values, whatever the environment has.
    Given(BTreeMap<String, String>),
    /// No source: every secret is empty, because the configuration is only checked.
    NotNeeded,
}

impl Secrets {
    /// The value of the secret `name`, if it has a value.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        match self {
            Secrets::Environment => std::env::var(name).ok(),
            Secrets::Given(values) => values.get(name).cloned(),
            Secrets::NotNeeded => Some(String::new()),
        }
    }
}
