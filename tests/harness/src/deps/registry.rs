//! An image registry that fails.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// The failure of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registry {
    /// Every request is answered 401.
    Unauthorized,
    /// Every request is answered 429.
    TooMany,
    /// The manifest does not match the requested digest.
    OtherDigest,
    /// No request is answered.
    Silent,
}

impl Registry {
    /// Starts a registry in this thread's network namespace, for the lifetime of this process; returns its address.
    pub fn start(self) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let address = listener.local_addr().expect("the socket has an address");
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                std::thread::spawn(move || self.answer(client));
            }
        });
        address
    }

    /// An image reference in this registry that no Engine has.
    pub fn image(address: SocketAddr) -> String {
        format!("{address}/team/shop@sha256:{}", "0123456789abcdef".repeat(4))
    }

    /// A text that the error message must contain, in lower case.
    pub const fn words(self) -> &'static str {
        match self {
            Registry::Unauthorized => "docker login",
            Registry::TooMany => "toomanyrequests",
            Registry::OtherDigest => "digest",
            Registry::Silent => "prepare_timeout",
        }
    }

    fn answer(self, client: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(client.try_clone().ok()?);
        let mut client = client;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
            let is_greeting = line.split(' ').nth(1) == Some("/v2/");
            let mut rest = String::new();
            while reader.read_line(&mut rest).ok().filter(|count| *count > 2).is_some() {
                rest.clear();
            }
            let error =
                |code: &str| format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"a fault under test\"}}]}}");
            let (status, kind, body) = match self {
                Registry::Silent => {
                    // Until the client disconnects.
                    reader.read_line(&mut rest).ok()?;
                    return None;
                }
                Registry::Unauthorized => ("401 Unauthorized", "application/json", error("UNAUTHORIZED")),
                _ if is_greeting => ("200 OK", "application/json", "{}".to_owned()),
                Registry::TooMany => ("429 Too Many Requests", "application/json", error("TOOMANYREQUESTS")),
                Registry::OtherDigest => {
                    let kind = "application/vnd.docker.distribution.manifest.v2+json";
                    ("200 OK", kind, format!("{{\"schemaVersion\":2,\"mediaType\":\"{kind}\",\"layers\":[]}}"))
                }
            };
            let length = body.len();
            let asks = "WWW-Authenticate: Basic realm=\"test\"\r\n";
            let asks = if self == Registry::Unauthorized { asks } else { "" };
            let is_head = line.starts_with("HEAD");
            let body = if is_head { String::new() } else { body };
            write!(
                client,
                "HTTP/1.1 {status}\r\nDocker-Distribution-Api-Version: registry/2.0\r\n{asks}Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .ok()?;
        }
    }
}
