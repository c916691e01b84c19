//! A client that sends one request on a connection of its own.

use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The answer to a request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// A request whose answer may still be on its way.
pub(super) struct Pending(TcpStream, Vec<u8>);

/// Sends a GET.
pub(super) async fn send(address: SocketAddr, host: &str, path: &str, header: &str) -> Pending {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{header}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    Pending(stream, Vec::new())
}

impl Pending {
    /// Reads until the answer so far contains `text`.
    pub(super) async fn read_until(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.1).contains(text) {
            let mut buffer = [0; 4096];
            let count = self.0.read(&mut buffer).await.unwrap();
            assert!(count > 0, "the answer ended before {text:?}: {}", String::from_utf8_lossy(&self.1));
            self.1.extend_from_slice(&buffer[..count]);
        }
    }

    /// Reads the answer to its end.
    pub(super) async fn answer(mut self) -> Answer {
        self.0.read_to_end(&mut self.1).await.unwrap();
        let text = String::from_utf8_lossy(&self.1).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer, but {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Answer { status: status.unwrap_or_else(|| panic!("no status in {head:?}")), body: body.to_owned() }
    }
}

/// The answer to a GET.
pub(super) async fn get(address: SocketAddr, host: &str, path: &str) -> Answer {
    super::in_time("a request", async { send(address, host, path, "").await.answer().await }).await
}
