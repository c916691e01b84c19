//! Keys from etcd, version 3: one transaction per template, one watch for all templates.

use super::{BackendError, Change, DEADLINE, concerns, outermost};
use etcd_client::{
    Certificate, Client, ConnectOptions, GetOptions, Identity, TlsOptions, Txn, TxnOp, TxnOpResponse, WatchOptions,
    WatchStream,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// The maximum of ranges in a transaction, by etcd's default.
const RANGES: usize = 128;

/// The largest answer, in bytes.
const LARGEST_BYTES: usize = 64 << 20;

/// The interval of keep-alive pings on an idle connection, and their deadline.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3));

/// The connection settings of etcd.
#[derive(Debug, Clone, Default)]
pub struct EtcdSettings {
    /// The members, as `host:port` or as URLs.
    pub nodes: Vec<String>,
    /// The certificates; if any is set, the connection uses TLS.
    pub tls: TlsFiles,
    /// User and password.
    pub user: Option<(String, String)>,
}

/// Files in PEM.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// The authority that signed etcd's certificate.
    pub ca: Option<PathBuf>,
    /// The client certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// A client of etcd. Uses one member at a time, connects on the first request, and switches to the next member when one
/// is unreachable: etcd's own client also balances to unreachable members.
#[derive(Clone)]
pub struct Etcd {
    shared: Arc<Shared>,
}

struct Shared {
    nodes: Vec<String>,
    options: ConnectOptions,
    member: Mutex<Member>,
}

/// The current member.
#[derive(Default)]
struct Member {
    /// Incremented each time that a member is given up.
    turn: usize,
    client: Option<Client>,
}

impl Etcd {
    pub async fn new(settings: EtcdSettings) -> Result<Etcd, BackendError> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(DEADLINE)
            .with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1)
            // A member without a leader must fail instead of waiting.
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some((name, password)) = settings.user {
            options = options.with_user(name, password);
        }
        let secure = settings.nodes.iter().any(|node| node.starts_with("https://"));
        if secure || settings.tls.ca.is_some() || settings.tls.client.is_some() {
            options = options.with_tls(tls(&settings.tls).await?);
        }
        let shared = Shared { nodes: settings.nodes, options, member: Mutex::default() };
        Ok(Etcd { shared: Arc::new(shared) })
    }

    /// A client of the current member, and the member's turn.
    async fn client(&self) -> Result<(Client, usize), (etcd_client::Error, usize)> {
        let mut member = self.shared.member.lock().await;
        let turn = member.turn;
        if let Some(client) = &member.client {
            return Ok((client.clone(), turn));
        }
        let node = &self.shared.nodes[turn % self.shared.nodes.len()];
        match Client::connect([node], Some(self.shared.options.clone())).await {
            Ok(client) => {
                member.client = Some(client.clone());
                Ok((client, turn))
            }
            Err(error) => Err((error, turn)),
        }
    }

    /// Calls one member after the other, until one answers.
    async fn call<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let nodes = self.shared.nodes.join(", ");
        let mut failure = BackendError::Timeout(format!("etcd at {nodes}"));
        for _ in &self.shared.nodes {
            let mut turn = None;
            let asked = tokio::time::timeout(DEADLINE, async {
                let (client, of) = self.client().await.map_err(|(error, of)| {
                    turn = Some(of);
                    error
                })?;
                turn = Some(of);
                call(client).await
            });
            match asked.await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if is_unreachable(&error) => failure = failed(&nodes, &error),
                Ok(Err(error)) => return Err(failed(&nodes, &error)),
                Err(_) => failure = BackendError::Timeout(format!("etcd at {nodes}")),
            }
            let mut member = self.shared.member.lock().await;
            // Another call may have given the member up already.
            if turn.is_none_or(|turn| turn == member.turn) {
                *member = Member { turn: member.turn.wrapping_add(1), client: None };
            }
        }
        Err(failure)
    }

    pub async fn values(&self, keys: &[String]) -> Result<BTreeMap<String, String>, BackendError> {
        let keys = outermost(keys);
        let found = self.call(|client| read(client, &keys)).await?;
        let mut values = BTreeMap::new();
        for (key, value) in found {
            let key = String::from_utf8_lossy(&key).into_owned();
            // A range is over bytes: it finds /ab for /a.
            if keys.iter().any(|wanted| concerns(&key, wanted)) {
                let value = String::from_utf8(value).map_err(|_| BackendError::NotText(key.clone()))?;
                values.insert(key, value);
            }
        }
        Ok(values)
    }

    pub async fn watch(&self, keys: &[String]) -> Result<EtcdWatch, BackendError> {
        let keys = outermost(keys);
        let nodes = self.shared.nodes.join(", ");
        let Some((first, others)) = keys.split_first() else {
            return Ok(EtcdWatch { nodes, stream: None });
        };
        let stream = self.call(|client| start_watch(client, first, others)).await?;
        Ok(EtcdWatch { nodes, stream: Some(stream) })
    }
}

/// Reads the values at and below the keys, all of one revision, unless they exceed one transaction.
async fn read(client: Client, keys: &[String]) -> Result<Vec<(Vec<u8>, Vec<u8>)>, etcd_client::Error> {
    let mut client = client.kv_client().max_decoding_message_size(LARGEST_BYTES);
    let mut found = Vec::new();
    let mut revision = 0;
    for keys in keys.chunks(RANGES) {
        let range =
            |key: &String| TxnOp::get(key.as_str(), Some(GetOptions::new().with_prefix().with_revision(revision)));
        let ranges: Vec<TxnOp> = keys.iter().map(range).collect();
        let answer = client.txn(Txn::new().and_then(ranges)).await?;
        if revision == 0 {
            revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
        }
        for response in answer.op_responses() {
            let TxnOpResponse::Get(mut range) = response else { continue };
            found.extend(range.take_kvs().into_iter().map(etcd_client::KeyValue::into_key_value));
        }
    }
    Ok(found)
}

/// A watch of etcd.
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
                // Also after a compaction: the caller then reads everything again, as after any end of a watch.
                return Err(over(format!("etcd ended the watch: {}", message.cancel_reason())));
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

/// Starts a watch of all keys on one stream.
async fn start_watch(mut client: Client, first: &str, others: &[String]) -> Result<WatchStream, etcd_client::Error> {
    let options = || Some(WatchOptions::new().with_prefix());
    let mut stream = client.watch(first, options()).await?;
    // One after the other: the stream accepts a bounded number of requests. Events in between may be dropped, since the
    // caller reads everything again once the watch has started.
    for key in others {
        created(&mut stream).await?;
        stream.watch(key.as_str(), options()).await?;
    }
    created(&mut stream).await?;
    Ok(stream)
}

/// Waits until etcd confirms a watch.
async fn created(stream: &mut WatchStream) -> Result<(), etcd_client::Error> {
    while let Some(message) = stream.message().await? {
        if message.canceled() {
            return Err(etcd_client::Error::WatchError(message.cancel_reason().to_owned()));
        }
        if message.created() {
            return Ok(());
        }
    }
    Err(etcd_client::Error::WatchError("etcd ended the watch at once".into()))
}

/// gRPC's code for a server that is unreachable or cannot serve at the moment.
const UNAVAILABLE: i32 = 14;

/// Another member may succeed.
fn is_unreachable(error: &etcd_client::Error) -> bool {
    match error {
        etcd_client::Error::TransportError(_) => true,
        etcd_client::Error::GRpcStatus(status) => {
            status.code() as i32 == UNAVAILABLE || std::error::Error::source(status).is_some()
        }
        _ => false,
    }
}

fn failed(nodes: &str, error: &etcd_client::Error) -> BackendError {
    use std::error::Error;
    let (mut problem, mut cause) = match error {
        etcd_client::Error::GRpcStatus(status) => (status.message().to_owned(), status.source()),
        etcd_client::Error::TransportError(error) => (error.to_string(), error.source()),
        other => (other.to_string(), other.source()),
    };
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !problem.contains(&inner_text) {
            problem = format!("{problem}: {inner_text}");
        }
        cause = inner.source();
    }
    if problem.contains("user name is empty") {
        problem.push_str("; set -username and -password");
    }
    if problem.contains("onnection refused") {
        problem.push_str("; check that etcd listens there");
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
