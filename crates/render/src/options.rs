//! What a person asks for, by flags and by `confd.toml`, and what that comes to.

use crate::backend::{BackendSettings, EtcdSettings, FileSettings, TlsFiles};
use crate::functions::{Keyring, KeyringError, LookupFailed, nodes_of};
use crate::modes::Job;
use crate::render::Rules;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// confd's options, under the names that they have in `confd.toml`. What is not known there is passed over, as in confd.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
#[allow(missing_docs, reason = "the flags of `gapless render` say what each is, word for word")]
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
    /// Again and again, that long apart.
    Interval(Duration),
    /// When something changes, and that long apart in any case.
    Watch(Duration),
}

/// What the options come to.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is rendered.
    pub job: Job,
    /// Where the keys come from.
    pub backend: BackendSettings,
    /// When.
    pub mode: Mode,
}

/// Why options cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The configuration file cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The configuration file is not TOML, or something in it has the wrong type.
    #[error("{}: {error}", path.display())]
    Toml {
        /// Which.
        path: PathBuf,
        /// What is wrong, and where.
        error: toml::de::Error,
    },
    /// A backend of confd's that is not here.
    #[error(
        "backend {0:?} is not supported; there are etcdv3 (also called etcd: version 3 of its API is spoken), env, \
         file and gapless"
    )]
    Backend(String),
    /// Something cannot be done.
    #[error("{0}")]
    Unsupported(&'static str),
    /// A record of DNS is not found.
    #[error(transparent)]
    Lookup(#[from] LookupFailed),
    /// A keyring is none.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

/// Where confd has its files.
const CONFDIR: &str = "/etc/confd";

/// confd's, in seconds.
const INTERVAL: u64 = 600;

/// How long a check or a reload may take, in seconds. confd waits for ever.
const COMMAND_TIMEOUT: u64 = 60;

/// Where etcd listens.
const ETCD_NODE: &str = "127.0.0.1:2379";

impl Options {
    /// The options of a configuration file; none at all if it is not there and nobody asked for it.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of_file(path: Option<&Path>) -> Result<Options, OptionsError> {
        let path = path.map_or_else(|| Path::new(CONFDIR).join("confd.toml"), Path::to_owned);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            // As in confd, even where a person named it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Options::default()),
            Err(error) => return Err(OptionsError::Unreadable { path, error }),
        };
        toml::from_str(&text).map_err(|error| OptionsError::Toml { path, error })
    }

    /// These options, and those of `weaker` where these say nothing.
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

    /// confd's own environment variables, which hold where neither flags nor file say anything.
    #[must_use]
    pub fn with_environment(mut self, variable: impl Fn(&str) -> Option<String>) -> Options {
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        self.client_cakeys = self.client_cakeys.or_else(|| path("CONFD_CLIENT_CAKEYS"));
        self.client_cert = self.client_cert.or_else(|| path("CONFD_CLIENT_CERT"));
        self.client_key = self.client_key.or_else(|| path("CONFD_CLIENT_KEY"));
        self
    }

    /// What these options come to. `socket` is where the gapless server is.
    ///
    /// # Errors
    /// If they cannot be carried out.
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
                Err(OptionsError::Unsupported("backend \"file\" needs files: give each with -file"))
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
                "-client-insecure is not supported: a certificate that nobody vouches for can be anybody's; give the \
                 authority that signed it with -client-ca-keys",
            ));
        }
        let client = match (self.client_cert, self.client_key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(OptionsError::Unsupported("-client-cert and -client-key belong together: give both")),
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
