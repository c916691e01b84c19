//! Keys from the gapless server, over its API on a Unix socket.

use super::{BackendError, Change, DEADLINE, concerns};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::Instant;

/// The deadline of a watch; the server answers after a minute at the latest.
const WATCH_DEADLINE: Duration = Duration::from_secs(75);

/// The shortest interval between two answers without changes.
const SHORTEST: Duration = Duration::from_millis(200);

/// The largest answer, in bytes.
const LARGEST_BYTES: usize = 64 << 20;

/// A client of the server.
#[derive(Debug, Clone)]
pub struct Server {
    socket: PathBuf,
}

/// An answer with keys.
#[derive(Debug, Deserialize)]
struct Answer {
    revision: u64,
    pairs: Vec<Pair>,
}

#[derive(Debug, Deserialize)]
struct Pair {
    key: String,
    value: String,
}

/// An error answer.
#[derive(Debug, Deserialize)]
struct Refusal {
    message: String,
}

impl Server {
    pub fn new(socket: PathBuf) -> Server {
        Server { socket }
    }

    pub async fn values(&self, keys: &[String]) -> Result<BTreeMap<String, String>, BackendError> {
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        let answer = self.get(&format!("/v1/kv?prefix={}", encoded(&common(keys))), DEADLINE).await?;
        let pairs = answer.pairs.into_iter().map(|pair| (pair.key, pair.value));
        Ok(pairs.filter(|(key, _)| keys.iter().any(|wanted| concerns(key, wanted))).collect())
    }

    pub async fn watch(&self, keys: &[String]) -> Result<ServerWatch, BackendError> {
        let prefix = encoded(&common(keys));
        let answer = self.get(&format!("/v1/kv?prefix={prefix}"), DEADLINE).await?;
        Ok(ServerWatch { server: self.clone(), prefix, known: answer })
    }

    async fn get(&self, path: &str, deadline: Duration) -> Result<Answer, BackendError> {
        let asked = tokio::time::timeout(deadline, self.request(path)).await;
        let answer =
            asked.map_err(|_| BackendError::Timeout(format!("the gapless server at {}", self.socket.display())))?;
        answer.map_err(|problem| BackendError::Server { socket: self.socket.clone(), problem })
    }

    async fn request(&self, path: &str) -> Result<Answer, String> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| format!("{error}; check that `gapless server` runs"))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        let request = http::Request::get(path)
            .header(http::header::HOST, "gapless")
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LARGEST_BYTES).collect().await;
            Ok::<_, String>((status, body.map_err(|error| error.to_string())?.to_bytes()))
        };
        tokio::pin!(exchange);
        // The connection is driven here, so that it ends with the request.
        let (status, body) = tokio::select! {
            answer = &mut exchange => answer?,
            ended = connection => {
                ended.map_err(|error| error.to_string())?;
                exchange.await?
            }
        };
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| format!("the answer is invalid: {error}"));
        }
        let refusal = serde_json::from_slice::<Refusal>(&body);
        Err(refusal.map_or_else(|_| format!("the answer is {status}"), |refusal| refusal.message))
    }
}

/// Repeated long polls.
pub struct ServerWatch {
    server: Server,
    prefix: String,
    known: Answer,
}

impl ServerWatch {
    pub async fn next(&mut self) -> Result<Change, BackendError> {
        loop {
            let path = format!("/v1/kv/watch?prefix={}&after={}", self.prefix, self.known.revision);
            let began = Instant::now();
            let answer = self.server.get(&path, WATCH_DEADLINE).await?;
            let changed = changed(&self.known, &answer);
            self.known = answer;
            if !changed.is_empty() {
                return Ok(Change::Keys(changed));
            }
            // Prevents a busy loop if the server answers at once without a change.
            tokio::time::sleep_until(began + SHORTEST).await;
        }
    }
}

/// The keys that are in only one of the answers, or have different values.
fn changed(before: &Answer, after: &Answer) -> Vec<String> {
    let pairs = |answer: &'_ Answer| -> BTreeSet<(String, String)> {
        answer.pairs.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect()
    };
    let (before, after) = (pairs(before), pairs(after));
    let keys: BTreeSet<String> = before.symmetric_difference(&after).map(|(key, _)| key.clone()).collect();
    keys.into_iter().collect()
}

/// The common parent folder of all keys, or the key itself if there is only one.
fn common(keys: &[String]) -> String {
    let Some((first, others)) = keys.split_first() else { return "/".into() };
    let mut parts: Vec<&str> = first.split('/').collect();
    for key in others {
        let same = parts.iter().zip(key.split('/')).take_while(|(one, other)| **one == *other).count();
        parts.truncate(same);
    }
    let common = parts.join("/");
    if common.is_empty() { "/".into() } else { common }
}

fn encoded(text: &str) -> String {
    let mut output = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            output.push(char::from(byte));
        } else {
            let _ = write!(output, "%{byte:02X}");
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_prefix_covers_all_keys() {
        let common = |keys: &[&str]| super::common(&keys.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(common(&["/a/b", "/a/c/d"]), "/a");
        assert_eq!(common(&["/a/b"]), "/a/b");
        assert_eq!(common(&["/a", "/b"]), "/");
        assert_eq!(common(&[]), "/");
        assert_eq!(encoded("/a b/é&"), "/a%20b/%C3%A9%26");
    }
}
