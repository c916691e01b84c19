//! The file of gapless itself: a server at a loopback address that says which configuration nginx goes by, and one that
//! answers 404 for hosts that nobody has.

use super::files::OWN;
use super::settings::NginxConfig;
use super::syntax::{Word, block, line, render, set};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Where the marker is.
const MARKER_PATH: &str = "/gapless/configuration";
/// How long nginx may take to tell it.
const ASK_DEADLINE: Duration = Duration::from_secs(2);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 4096;

/// What tells one configuration from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marker {
    /// The version of the table that it was written for.
    pub(super) version: u64,
    /// What all of gapless's files hold.
    pub(super) digest: u64,
}

/// The file's text.
pub(super) fn file(marker: Marker, settings: &NginxConfig) -> String {
    let told = format!("gapless {} {:016x}", marker.version, marker.digest);
    let status = vec![
        set("listen", settings.status.to_string()),
        set("server_name", "gapless-status.invalid"),
        set("access_log", "off"),
        set("keepalive_timeout", "0"),
        block(
            ["location".into(), "=".into(), MARKER_PATH.into()],
            vec![set("default_type", "text/plain"), line(["return".into(), "200".into(), Word::Theirs(told)])],
        ),
        block(["location".into(), "/".into()], vec![set("return", "404")]),
    ];
    let mut unknown: Vec<_> = settings.listen.iter().map(|address| set("listen", address.to_string())).collect();
    unknown.extend([set("server_name", "gapless-unknown-host.invalid"), set("return", "404")]);
    let servers = [block(["server".into()], status), block(["server".into()], unknown)];
    format!("{OWN}{}", render(&servers))
}

/// Which configuration nginx goes by, asked on a fresh connection, since a kept one stays with an old worker.
pub(super) async fn ask(status: SocketAddr) -> Result<Marker, String> {
    let asked = async {
        let mut stream = TcpStream::connect(status).await.map_err(|error| error.to_string())?;
        let request = format!("GET {MARKER_PATH} HTTP/1.0\r\nHost: gapless-status.invalid\r\n\r\n");
        stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await.map_err(|error| error.to_string())?;
        parse(&answer).ok_or_else(|| "what answers there is not gapless's server in nginx".to_owned())
    };
    match tokio::time::timeout(ASK_DEADLINE, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", ASK_DEADLINE.as_secs())),
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
    fn a_marker_is_told_from_anything_else() {
        let marker = parse("HTTP/1.1 200 OK\r\nServer: nginx\r\n\r\ngapless 7 00000000000000ff");
        assert_eq!(marker, Some(Marker { version: 7, digest: 255 }));
        for other in ["", "HTTP/1.1 404 Not Found\r\n\r\n<html>", "HTTP/1.1 200 OK\r\n\r\ngapless x y"] {
            assert_eq!(parse(other), None, "{other:?}");
        }
    }
}
