//! etcd, version 3: one transaction for what a template asks for, one watch for all that templates ask for.

use super::{BackendError, Change, DEADLINE, concerns, outermost};
use etcd_client::{
    Certificate, Client, ConnectOptions, GetOptions, Identity, TlsOptions, Txn, TxnOp, TxnOpResponse, WatchOptions,
    WatchStream,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How many ranges etcd takes in a transaction, unless it is told otherwise.
const RANGES: usize = 128;

/// How long a connection may be silent until it is asked whether it is still there, and how long it may take to say.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3));

/// How to reach etcd.
#[derive(Debug, Clone, Default)]
pub struct EtcdSettings {
    /// Its members, as `host:port` or as URLs.
    pub nodes: Vec<String>,
    /// Certificates; with any of them, TLS is spoken.
    pub tls: TlsFiles,
    /// A user and the password.
    pub user: Option<(String, String)>,
}

/// Files in PEM.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// The authority that etcd's certificate is to be of.
    pub ca: Option<PathBuf>,
    /// The certificate to show, and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// A client of etcd. It connects when it is first asked, and again whenever it must.
#[derive(Clone)]
pub struct Etcd {
    nodes: String,
    client: std::sync::Arc<tokio::sync::OnceCell<Client>>,
    settings: std::sync::Arc<(Vec<String>, ConnectOptions)>,
}

impl Etcd {
    pub async fn new(settings: EtcdSettings) -> Result<Etcd, BackendError> {
        let nodes = settings.nodes.join(", ");
        let mut options = ConnectOptions::new()
            .with_connect_timeout(DEADLINE)
            .with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1)
            .with_auto_token_refresh(true);
        if let Some((name, password)) = settings.user {
            options = options.with_user(name, password);
        }
        let secure = settings.nodes.iter().any(|node| node.starts_with("https://"));
        if secure || settings.tls.ca.is_some() || settings.tls.client.is_some() {
            options = options.with_tls(tls(&settings.tls).await?);
        }
        let settings = std::sync::Arc::new((settings.nodes, options));
        Ok(Etcd { nodes, client: std::sync::Arc::default(), settings })
    }

    async fn client(&self) -> Result<Client, BackendError> {
        let (nodes, options) = &*self.settings;
        let connect = self.client.get_or_try_init(|| Client::connect(nodes, Some(options.clone())));
        let client = within(&self.nodes, connect).await?;
        Ok(client.clone())
    }

    pub async fn values(&self, keys: &[String]) -> Result<BTreeMap<String, String>, BackendError> {
        let mut client = self.client().await?;
        let mut values = BTreeMap::new();
        // All at the revision of the first answer, so that they belong together.
        let mut revision = 0;
        for keys in outermost(keys).chunks(RANGES) {
            let range =
                |key: &String| TxnOp::get(key.as_str(), Some(GetOptions::new().with_prefix().with_revision(revision)));
            let ranges: Vec<TxnOp> = keys.iter().map(range).collect();
            let answer = within(&self.nodes, client.txn(Txn::new().and_then(ranges))).await?;
            if revision == 0 {
                revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
            }
            for response in answer.op_responses() {
                let TxnOpResponse::Get(found) = response else { continue };
                for pair in found.kvs() {
                    let key = String::from_utf8_lossy(pair.key()).into_owned();
                    // A range is of bytes: /ab begins like /a.
                    if keys.iter().any(|wanted| concerns(&key, wanted)) {
                        let value = pair.value_str().map_err(|_| BackendError::NotText(key.clone()))?.to_owned();
                        values.insert(key, value);
                    }
                }
            }
        }
        Ok(values)
    }

    pub async fn watch(&self, keys: &[String]) -> Result<EtcdWatch, BackendError> {
        let mut client = self.client().await?;
        let options = || Some(WatchOptions::new().with_prefix());
        let keys = outermost(keys);
        let Some((first, others)) = keys.split_first() else {
            return Ok(EtcdWatch { nodes: self.nodes.clone(), stream: None });
        };
        let begin = async {
            let mut stream = client.watch(first.as_str(), options()).await?;
            // One after the other: the stream takes a bounded number of requests. What is told meanwhile needs no care,
            // since whoever begins a watch reads everything once more afterwards.
            for key in others {
                created(&mut stream).await?;
                stream.watch(key.as_str(), options()).await?;
            }
            created(&mut stream).await?;
            Ok(stream)
        };
        let stream = within(&self.nodes, begin).await?;
        Ok(EtcdWatch { nodes: self.nodes.clone(), stream: Some(stream) })
    }
}

/// A watch of etcd's.
pub struct EtcdWatch {
    nodes: String,
    stream: Option<WatchStream>,
}

impl EtcdWatch {
    pub async fn next(&mut self) -> Result<Change, BackendError> {
        let Some(stream) = &mut self.stream else {
            return std::future::pending().await;
        };
        loop {
            let over = |problem: String| BackendError::Etcd { nodes: self.nodes.clone(), problem };
            let message = stream.message().await.map_err(|error| failed(&self.nodes, &error))?;
            let message = message.ok_or_else(|| over("the watch has ended".into()))?;
            if message.canceled() {
                // After a compaction too: what was missed is read anew, as after any end of a watch.
                return Err(over(format!("the watch was ended: {}", message.cancel_reason())));
            }
            let keys: Vec<String> = message
                .events()
                .iter()
                .filter_map(|event| event.kv())
                .map(|pair| String::from_utf8_lossy(pair.key()).into_owned())
                .collect();
            if !keys.is_empty() {
                return Ok(Change::Keys(keys));
            }
        }
    }
}

/// Waits until a watch that was asked for has begun.
async fn created(stream: &mut WatchStream) -> Result<(), etcd_client::Error> {
    while let Some(message) = stream.message().await? {
        if message.canceled() {
            return Err(etcd_client::Error::WatchError(message.cancel_reason().to_owned()));
        }
        if message.created() {
            return Ok(());
        }
    }
    Err(etcd_client::Error::WatchError("it ended at once".into()))
}

async fn within<T>(nodes: &str, call: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T, BackendError> {
    let answer =
        tokio::time::timeout(DEADLINE, call).await.map_err(|_| BackendError::Slow(format!("etcd at {nodes}")))?;
    answer.map_err(|error| failed(nodes, &error))
}

fn failed(nodes: &str, error: &etcd_client::Error) -> BackendError {
    let mut problem = match error {
        etcd_client::Error::GRpcStatus(status) => status.message().to_owned(),
        other => other.to_string(),
    };
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !problem.contains(&inner_text) {
            problem = format!("{problem}: {inner_text}");
        }
        cause = inner.source();
    }
    if problem.contains("user name is empty") {
        problem.push_str(": give -username and -password");
    }
    BackendError::Etcd { nodes: nodes.into(), problem }
}

async fn tls(files: &TlsFiles) -> Result<TlsOptions, BackendError> {
    let read = async |path: &PathBuf| {
        let bytes = tokio::fs::read(path).await;
        bytes.map_err(|error| BackendError::File { path: path.clone(), problem: error.to_string() })
    };
    let mut options = TlsOptions::new();
    if let Some(ca) = &files.ca {
        options = options.ca_certificate(Certificate::from_pem(read(ca).await?));
    }
    if let Some((certificate, key)) = &files.client {
        options = options.identity(Identity::from_pem(read(certificate).await?, read(key).await?));
    }
    Ok(options)
}
