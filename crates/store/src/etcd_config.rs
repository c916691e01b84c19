//! The settings of a connection to etcd.

use std::fmt;
use std::time::Duration;

/// etcd's addresses, the user, and where the keys are stored.
#[derive(Clone)]
pub struct EtcdConfig {
    /// The members' client addresses, such as `http://10.0.0.1:2379`; `https://` with [`EtcdConfig::tls`].
    pub endpoints: Vec<String>,
    /// The prefix of every key in etcd. Empty: no prefix.
    pub prefix: String,
    /// A prefix of keys that are stored without it, and without [`EtcdConfig::prefix`]: with `/kv` the key
    /// `/kv/shop/port` is `/shop/port` in etcd. Only prefixes that begin with it find these keys.
    pub plain_below: Option<String>,
    /// User and password; `None` where etcd's authentication is off.
    pub user: Option<(String, String)>,
    /// TLS; `None` for `http://`.
    pub tls: Option<EtcdTls>,
    /// How long a call may take.
    pub deadline: Duration,
}

/// The default deadline of a call.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// The certificates of a connection to etcd, as PEM.
#[derive(Clone, Default)]
pub struct EtcdTls {
    /// The authority that etcd's certificate must be signed by.
    pub ca: Vec<u8>,
    /// The client certificate and its key, if etcd requires one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl EtcdConfig {
    /// A configuration without authentication, TLS and prefix.
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

    /// The endpoints, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        format!("etcd at {}", self.endpoints.join(", "))
    }
}

// Neither the password nor the key may appear in a log.
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
