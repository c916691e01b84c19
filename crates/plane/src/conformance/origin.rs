//! An application for the tests: every answer names the instance and the path that it received.

use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// The path whose answer waits for [`Origin::finish_slow`] after its head and half of its body.
pub(super) const SLOW: &str = "/slow";
/// The halves of the body of the slow answer.
pub(super) const HALVES: (&str, &str) = ("first half, ", "second half");

/// An instance that answers until it is dropped.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    slow: Arc<Semaphore>,
    _tasks: JoinSet<()>,
}

impl Origin {
    /// An instance of that name on a free port.
    pub(super) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let slow = Arc::new(Semaphore::new(0));
        let mut tasks = JoinSet::new();
        let waiting = slow.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, name, waiting.clone()));
            }
        });
        Origin { address, slow, _tasks: tasks }
    }

    /// Lets one slow answer finish.
    pub(super) fn finish_slow(&self) {
        self.slow.add_permits(1);
    }
}

async fn serve(mut stream: TcpStream, name: &'static str, slow: Arc<Semaphore>) {
    let mut read = Vec::new();
    loop {
        while !read.ends_with(b"\r\n\r\n") {
            let mut buffer = [0; 4096];
            match stream.read(&mut buffer).await {
                Ok(count) if count > 0 => read.extend_from_slice(&buffer[..count]),
                _ => return,
            }
        }
        let head = String::from_utf8_lossy(&read).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default();
        let is_slow = path == SLOW;
        let body = if is_slow { format!("{}{}", HALVES.0, HALVES.1) } else { format!("{name} {path}") };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        let (first, rest) = body.split_at(if is_slow { HALVES.0.len() } else { body.len() });
        if stream.write_all(format!("{answer}{first}").as_bytes()).await.is_err() {
            return;
        }
        if is_slow {
            slow.acquire().await.unwrap().forget();
            if stream.write_all(rest.as_bytes()).await.is_err() {
                return;
            }
        }
        read.clear();
    }
}
