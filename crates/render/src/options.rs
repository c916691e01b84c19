//! The options from flags and `confd.toml`, and the resulting plan.

use crate::backend::{BackendSettings, EtcdSettings, FileSettings, TlsFiles};
use crate::functions::{Keyring, KeyringError, LookupFailed, nodes_of};
use crate::modes::Job;
use crate::render::Rules;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// confd's options, under their names in `confd.toml`. Unknown keys there are ignored, as in confd.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
#[allow(missing_docs, reason = "the help of `gapless render` describes each flag")]
pub struct Options {
    pub backend: Option<String>,
    pub nodes: Vec<String>,
    pub confdir: Option<PathBuf>,
    pub interval: Option<u64>,
    pub prefix: Option<String>,
    pub scheme: Option<String>,
    pub srv_domain: Option<String>,
    pub srv_record: Option<String>,
    pub client_cakeys: Option<PathBuf>,
    pub client_cert: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
    pub client_insecure: Option<bool>,
    pub basic_auth: Option<bool>,
    pub username: Option<String>,
    pub password: Option<String>,
    pub file: Vec<PathBuf>,
    pub filter: Option<String>,
    pub secret_keyring: Option<PathBuf>,
    #[serde(rename = "log-level")]
    pub log_level: Option<String>,
    pub onetime: Option<bool>,
    pub watch: Option<bool>,
    pub noop: Option<bool>,
    #[serde(alias = "keep-stage-file")]
    pub keep_stage_file: Option<bool>,
    #[serde(rename = "sync-only")]
    pub sync_only: Option<bool>,
    pub command_timeout: Option<u64>,
}

/// When to render.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Once.
    Once,
    /// At this interval.
    Interval(Duration),
    /// On changes, and at this interval.
    Watch(Duration),
}

/// The result of the options.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The resources.
    pub job: Job,
    /// The source of the keys.
    pub backend: BackendSettings,
    /// When to render.
    pub mode: Mode,
}

/// Invalid options.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The configuration file cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// The configuration file is not TOML, or a value has the wrong type.
    #[error("{}: {error}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// The error and its position.
        error: toml::de::Error,
    },
    /// A backend of confd's that gapless does not support.
    #[error(
        "backend {0:?} is not supported; use etcdv3 (alias etcd; speaks version 3 of etcd's API), env, \
         file or gapless"
    )]
    Backend(String),
    /// Options that are unsupported, or do not fit together.
    #[error("{0}")]
    Unsupported(&'static str),
    /// A DNS record was not found.
    #[error(transparent)]
    Lookup(#[from] LookupFailed),
    /// The keyring is unusable.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

/// The default folder of confd.
const CONFDIR: &str = "/etc/confd";

/// The default interval of confd, in seconds.
const INTERVAL: u64 = 600;

/// The default deadline of a check or reload, in seconds. confd has none.
const COMMAND_TIMEOUT: u64 = 60;

/// The default member of etcd.
const ETCD_NODE: &str = "127.0.0.1:2379";

impl Options {
    /// The options of a configuration file; empty if the file does not exist.
    ///
    /// # Errors
    /// If the file cannot be read or parsed.
    pub fn of_file(path: Option<&Path>) -> Result<Options, OptionsError> {
        let path = path.map_or_else(|| Path::new(CONFDIR).join("confd.toml"), Path::to_owned);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            // As in confd, even if the user named the file.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Options::default()),
            Err(error) => return Err(OptionsError::Unreadable { path, error }),
        };
        toml::from_str(&text).map_err(|error| OptionsError::Toml { path, error })
    }

    /// Completes these options with those of `weaker`.
    #[must_use]
    pub fn over(self, weaker: Options) -> Options {
        fn list<T>(strong: Vec<T>, weak: Vec<T>) -> Vec<T> {
            if strong.is_empty() { weak } else { strong }
        }
        Options {
            backend: self.backend.or(weaker.backend),
            nodes: list(self.nodes, weaker.nodes),
            confdir: self.confdir.or(weaker.confdir),
            interval: self.interval.or(weaker.interval),
            prefix: self.prefix.or(weaker.prefix),
            scheme: self.scheme.or(weaker.scheme),
            srv_domain: self.srv_domain.or(weaker.srv_domain),
            srv_record: self.srv_record.or(weaker.srv_record),
            client_cakeys: self.client_cakeys.or(weaker.client_cakeys),
            client_cert: self.client_cert.or(weaker.client_cert),
            client_key: self.client_key.or(weaker.client_key),
            client_insecure: self.client_insecure.or(weaker.client_insecure),
            basic_auth: self.basic_auth.or(weaker.basic_auth),
            username: self.username.or(weaker.username),
            password: self.password.or(weaker.password),
            file: list(self.file, weaker.file),
            filter: self.filter.or(weaker.filter),
            secret_keyring: self.secret_keyring.or(weaker.secret_keyring),
            log_level: self.log_level.or(weaker.log_level),
            onetime: self.onetime.or(weaker.onetime),
            watch: self.watch.or(weaker.watch),
            noop: self.noop.or(weaker.noop),
            keep_stage_file: self.keep_stage_file.or(weaker.keep_stage_file),
            sync_only: self.sync_only.or(weaker.sync_only),
            command_timeout: self.command_timeout.or(weaker.command_timeout),
        }
    }

    /// Completes these options with confd's environment variables.
    #[must_use]
    pub fn with_environment(mut self, variable: impl Fn(&str) -> Option<String>) -> Options {
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        self.client_cakeys = self.client_cakeys.or_else(|| path("CONFD_CLIENT_CAKEYS"));
        self.client_cert = self.client_cert.or_else(|| path("CONFD_CLIENT_CERT"));
        self.client_key = self.client_key.or_else(|| path("CONFD_CLIENT_KEY"));
        self
    }

    /// The plan for these options. `socket` is that of the gapless server.
    ///
    /// # Errors
    /// If the options are invalid.
    pub fn plan(self, socket: PathBuf) -> Result<Plan, OptionsError> {
        let keyring = self.secret_keyring.as_deref().map(Keyring::read).transpose()?.map(Arc::new);
        let interval = Duration::from_secs(self.interval.unwrap_or(INTERVAL));
        let mode = match (self.onetime, self.watch) {
            (Some(true), _) => Mode::Once,
            (_, Some(true)) => Mode::Watch(interval),
            _ => Mode::Interval(interval),
        };
        let rules = Rules {
            noop: self.noop == Some(true),
            keep_stage_file: self.keep_stage_file == Some(true),
            sync_only: self.sync_only == Some(true),
            command_deadline: Duration::from_secs(self.command_timeout.unwrap_or(COMMAND_TIMEOUT)),
            keyring,
        };
        let confdir = self.confdir.clone().unwrap_or_else(|| CONFDIR.into());
        let job = Job { confdir, prefix: self.prefix.clone().unwrap_or_default(), rules };
        let backend = self.backend(socket)?;
        Ok(Plan { job, backend, mode })
    }

    fn backend(self, socket: PathBuf) -> Result<BackendSettings, OptionsError> {
        match self.backend.as_deref() {
            None | Some("etcd" | "etcdv3") => Ok(BackendSettings::Etcd(self.etcd()?)),
            Some("env") => Ok(BackendSettings::Env),
            Some("file") if self.file.is_empty() => {
                Err(OptionsError::Unsupported("backend \"file\" needs files; set them with -file"))
            }
            Some("file") => {
                let filter = self.filter.unwrap_or_else(|| "*".into());
                Ok(BackendSettings::File(FileSettings { files: self.file, filter }))
            }
            Some("gapless") => Ok(BackendSettings::Gapless(socket)),
            Some(other) => Err(OptionsError::Backend(other.into())),
        }
    }

    fn etcd(self) -> Result<EtcdSettings, OptionsError> {
        if self.client_insecure == Some(true) {
            return Err(OptionsError::Unsupported(
                "-client-insecure is not supported: without verification anybody can pose as the server; set the \
                 authority that signed its certificate with -client-ca-keys",
            ));
        }
        let client = match (self.client_cert, self.client_key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(OptionsError::Unsupported("-client-cert and -client-key belong together; set both")),
        };
        let user = match (self.username, self.password) {
            (Some(name), password) => Some((name, password.unwrap_or_default())),
            (None, None) if self.basic_auth != Some(true) => None,
            _ => return Err(OptionsError::Unsupported("-basic-auth and -password need -username")),
        };
        let domain = self.srv_domain.filter(|domain| !domain.is_empty());
        let backend = self.backend.unwrap_or_else(|| "etcd".into());
        let record = self.srv_record.or_else(|| domain.map(|domain| format!("_{backend}._tcp.{domain}.")));
        let mut nodes = match record.filter(|record| !record.is_empty()) {
            Some(record) => {
                let scheme = self.scheme.unwrap_or_else(|| "http".into());
                nodes_of(&record)?.into_iter().map(|node| format!("{scheme}://{node}")).collect()
            }
            None => self.nodes,
        };
        if nodes.is_empty() {
            nodes.push(ETCD_NODE.into());
        }
        Ok(EtcdSettings { nodes, tls: TlsFiles { ca: self.client_cakeys, client }, user })
    }
}
