//! The backend gapless, against a server that speaks the API: keys below a prefix, and long polls for changes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the failure of a test")]

use gapless_render::{Backend, BackendSettings, Change};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// A server that answers one request after the other, and sends the requests to the receiver.
fn server(socket: &Path, answers: Vec<(&'static str, &'static str)>) -> mpsc::Receiver<String> {
    let listener = UnixListener::bind(socket).unwrap();
    let (asked, asks) = mpsc::sync_channel(answers.len());
    std::thread::spawn(move || {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
            asked.send(lines.next().unwrap()).unwrap();
            lines.find(String::is_empty).unwrap();
            let length = body.len();
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        }
    });
    asks
}

async fn backend(socket: &Path) -> Backend {
    Backend::new(BackendSettings::Gapless(socket.to_owned())).await.unwrap()
}

#[tokio::test]
async fn keys_are_read_and_watched() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("gapless.sock");
    let first = r#"{"revision": 7, "pairs": [{"key": "/a/x", "value": "1"}, {"key": "/a/yy", "value": "2"}, {"key": "/a/y", "value": "3"}]}"#;
    let asks = server(
        &socket,
        vec![
            ("200 OK", first),
            ("200 OK", first),
            // Without a change for a minute.
            ("200 OK", first),
            ("200 OK", r#"{"revision": 9, "pairs": [{"key": "/a/x", "value": "5"}, {"key": "/a/yy", "value": "2"}]}"#),
            ("404 Not Found", r#"{"code": "not_found", "message": "there is no such thing"}"#),
        ],
    );
    let backend = backend(&socket).await;
    let keys = ["/a/x".to_owned(), "/a/y".to_owned()];
    let values: Vec<(String, String)> = backend.values(&keys).await.unwrap().into_iter().collect();
    assert_eq!(values, [("/a/x".to_owned(), "1".to_owned()), ("/a/y".to_owned(), "3".to_owned())]);
    let mut watch = backend.watch(&keys).await.unwrap();
    assert_eq!(watch.next().await.unwrap(), Change::Keys(vec!["/a/x".into(), "/a/y".into()]));
    let error = watch.next().await.unwrap_err().to_string();
    assert_eq!(error, format!("the gapless server at {}: there is no such thing", socket.display()));
    let asked: Vec<String> = asks.try_iter().collect();
    assert_eq!(
        asked,
        [
            "GET /v1/kv?prefix=/a HTTP/1.1",
            "GET /v1/kv?prefix=/a HTTP/1.1",
            "GET /v1/kv/watch?prefix=/a&after=7 HTTP/1.1",
            "GET /v1/kv/watch?prefix=/a&after=7 HTTP/1.1",
            "GET /v1/kv/watch?prefix=/a&after=9 HTTP/1.1",
        ]
    );
}

#[tokio::test]
async fn unreachable_server_and_invalid_answers_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("gapless.sock");
    let error = backend(&socket).await.values(&["/a".into()]).await.unwrap_err().to_string();
    assert!(error.ends_with("check that `gapless server` runs"), "{error}");
    let asks = server(&socket, vec![("200 OK", "pairs"), ("500 Internal Server Error", "oh")]);
    let error = backend(&socket).await.values(&["/a".into()]).await.unwrap_err().to_string();
    assert!(error.contains("the answer is invalid: "), "{error}");
    let error = backend(&socket).await.values(&["/a".into()]).await.unwrap_err().to_string();
    assert!(error.ends_with("the answer is 500 Internal Server Error"), "{error}");
    assert!(asks.recv_timeout(Duration::from_secs(30)).is_ok());
}
