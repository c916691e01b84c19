//! What is needed to reach an etcd.

use std::fmt;
use std::time::Duration;

/// Where an etcd is, who speaks to it, and where in it the keys are kept.
#[derive(Clone)]
pub struct EtcdConfig {
    /// The members' client addresses, such as `http://10.0.0.1:2379`; `https://` with [`EtcdConfig::tls`].
    pub endpoints: Vec<String>,
    /// What stands before every key in etcd. Nothing: the keys stand there as they are.
    pub prefix: String,
    /// A prefix of keys that are kept without it, and without [`EtcdConfig::prefix`]: with `/kv` the key `/kv/shop/port`
    /// is `/shop/port` in etcd. They are found by prefixes that begin with it, and by no others.
    pub plain_below: Option<String>,
    /// Who speaks to it, and the password; `None` where etcd's authentication is off.
    pub user: Option<(String, String)>,
    /// TLS; `None` for `http://`.
    pub tls: Option<EtcdTls>,
    /// How long a call may take.
    pub deadline: Duration,
}

/// How long a call may take, where nothing else is said.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// The certificates of a connection to etcd, as PEM.
#[derive(Clone, Default)]
pub struct EtcdTls {
    /// The authority that etcd's certificate must be signed by.
    pub ca: Vec<u8>,
    /// The certificate and the key that this client shows, where etcd asks for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl EtcdConfig {
    /// An etcd without authentication and TLS, its keys as they are.
    #[must_use]
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        EtcdConfig {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            prefix: String::new(),
            plain_below: None,
            user: None,
            tls: None,
            deadline: DEADLINE,
        }
    }

    /// The endpoints, for people.
    #[must_use]
    pub fn place(&self) -> String {
        format!("etcd at {}", self.endpoints.join(", "))
    }
}

// Neither the password nor the key may come into a log.
impl fmt::Debug for EtcdConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdConfig")
            .field("endpoints", &self.endpoints)
            .field("prefix", &self.prefix)
            .field("user", &self.user.as_ref().map(|(name, _)| name))
            .field("has_tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}
