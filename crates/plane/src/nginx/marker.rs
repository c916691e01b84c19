//! The file of gapless itself: a server on a loopback address that reports a marker of the configuration that nginx
//! applies, and a server that answers 404 for unknown hosts.

use super::files::HEADER_LINE;
use super::settings::NginxConfig;
use super::syntax::{Word, block, line, render, set};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The path of the marker.
const MARKER_PATH: &str = "/gapless/configuration";
/// How long nginx may take to answer with the marker.
const FETCH_DEADLINE: Duration = Duration::from_secs(2);
/// The maximum size of an answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 4096;

/// The identity of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marker {
    /// The version of the table for which the configuration was written.
    pub(super) version: u64,
    /// The digest of all of gapless's files.
    pub(super) digest: u64,
}

/// The text of the file.
pub(super) fn file(marker: Marker, settings: &NginxConfig) -> String {
    let text = format!("gapless {} {:016x}", marker.version, marker.digest);
    let status = vec![
        set("listen", settings.status.to_string()),
        set("server_name", "gapless-status.invalid"),
        set("access_log", "off"),
        set("keepalive_timeout", "0"),
        block(
            ["location".into(), "=".into(), MARKER_PATH.into()],
            vec![set("default_type", "text/plain"), line(["return".into(), "200".into(), Word::Untrusted(text)])],
        ),
        block(["location".into(), "/".into()], vec![set("return", "404")]),
    ];
    let mut unknown: Vec<_> = settings.listen.iter().map(|address| set("listen", address.to_string())).collect();
    unknown.extend([set("server_name", "gapless-unknown-host.invalid"), set("return", "404")]);
    let servers = [block(["server".into()], status), block(["server".into()], unknown)];
    format!("{HEADER_LINE}{}", render(&servers))
}

/// Fetches the marker on a new connection: an existing connection would stay with an old worker.
pub(super) async fn fetch(status: SocketAddr) -> Result<Marker, String> {
    let fetched = async {
        let mut stream = TcpStream::connect(status).await.map_err(|error| error.to_string())?;
        let request = format!("GET {MARKER_PATH} HTTP/1.0\r\nHost: gapless-status.invalid\r\n\r\n");
        stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await.map_err(|error| error.to_string())?;
        parse(&answer).ok_or_else(|| "the answer is not from gapless's server in nginx".to_owned())
    };
    match tokio::time::timeout(FETCH_DEADLINE, fetched).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", FETCH_DEADLINE.as_secs())),
    }
}

fn parse(answer: &str) -> Option<Marker> {
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let mut words = body.trim().strip_prefix("gapless ")?.split(' ');
    let version = words.next()?.parse().ok()?;
    let digest = u64::from_str_radix(words.next()?, 16).ok()?;
    Some(Marker { version, digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_rejects_everything_but_a_marker() {
        let marker = parse("HTTP/1.1 200 OK\r\nServer: nginx\r\n\r\ngapless 7 00000000000000ff");
        assert_eq!(marker, Some(Marker { version: 7, digest: 255 }));
        for other in ["", "HTTP/1.1 404 Not Found\r\n\r\n<html>", "HTTP/1.1 200 OK\r\n\r\ngapless x y"] {
            assert_eq!(parse(other), None, "{other:?}");
        }
    }
}
