//! WebSockets with a periodic message, each of which must be echoed. The few frames needed (RFC 6455) are implemented
//! here, so that the judge does not depend on a library's notion of an orderly close.

use crate::book::{Book, Entry, Kind};
use crate::plan::LoadPlan;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

const RECONNECT_AFTER: Duration = Duration::from_millis(200);
const ECHO_TIMEOUT: Duration = Duration::from_secs(5);
const HEAD_BYTES_MAX: usize = 16 << 10;
const FRAME_BYTES_MAX: u64 = 64 << 10;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The close codes of an orderly close: normal, going away, restart.
const ORDERLY: [u16; 3] = [1000, 1001, 1012];

/// Uses one WebSocket after another until `ending`.
pub(crate) async fn converse(plan: Arc<LoadPlan>, book: Arc<Book>, ending: CancellationToken) {
    while !ending.is_cancelled() {
        let began = Instant::now();
        let mut socket = match Socket::open(&plan).await {
            Ok(socket) => socket,
            Err(cause) => {
                book.failed(&Entry { kind: Kind::WebSocket, due: began }, None, cause);
                tokio::time::sleep(RECONNECT_AFTER).await;
                continue;
            }
        };
        let mut count = 0_u64;
        while !ending.is_cancelled() {
            let entry = Entry { kind: Kind::WebSocket, due: Instant::now() };
            let text = format!("message {count}");
            count += 1;
            match tokio::time::timeout(ECHO_TIMEOUT, socket.echo(&text)).await {
                Ok(Ok(Echo::Back)) => book.answered(&entry, &socket.release),
                Ok(Ok(Echo::Closed(code))) if ORDERLY.contains(&code) => {
                    book.moved();
                    break;
                }
                Ok(Ok(Echo::Closed(code))) => {
                    book.failed(&entry, Some(socket.release.clone()), format!("closed with {code}"));
                    break;
                }
                Ok(Err(cause)) => {
                    book.failed(&entry, Some(socket.release.clone()), cause);
                    break;
                }
                Err(_) => {
                    book.failed(&entry, Some(socket.release.clone()), "no echo within 5 s");
                    break;
                }
            }
            tokio::time::sleep(plan.websocket_every).await;
        }
    }
}

enum Echo {
    Back,
    Closed(u16),
}

struct Socket {
    stream: BufReader<TcpStream>,
    release: String,
}

impl Socket {
    async fn open(plan: &LoadPlan) -> Result<Self, String> {
        let stream = TcpStream::connect(plan.address).await.map_err(|error| format!("cannot connect: {error}"))?;
        let mut stream = BufReader::new(stream);
        let request = format!(
            "GET /ws/echo HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            plan.host
        );
        stream.write_all(request.as_bytes()).await.map_err(|error| format!("cannot send: {error}"))?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let count = stream.read_line(&mut head).await.map_err(|error| format!("no answer: {error}"))?;
            if count == 0 || head.len() > HEAD_BYTES_MAX {
                return Err("the connection ended instead of being upgraded".to_owned());
            }
        }
        if !head.starts_with("HTTP/1.1 101") {
            return Err(format!("not upgraded: {}", head.lines().next().unwrap_or_default()));
        }
        // The accept value of the fixed key (RFC 6455, section 1.3).
        if !head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") {
            return Err("upgraded with a wrong Sec-WebSocket-Accept".to_owned());
        }
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        let release =
            lines.find(|(name, _)| name.eq_ignore_ascii_case("x-release")).map(|(_, value)| value.trim().to_owned());
        Ok(Socket { stream, release: release.unwrap_or_else(|| "none".to_owned()) })
    }

    async fn echo(&mut self, text: &str) -> Result<Echo, String> {
        let sent = self.send(TEXT, text.as_bytes()).await;
        loop {
            let (opcode, payload) = match self.receive().await {
                Ok(frame) => frame,
                Err(cause) => return Err(sent.err().unwrap_or(cause)),
            };
            match opcode {
                TEXT if payload == text.as_bytes() => return Ok(Echo::Back),
                TEXT => return Err(format!("a wrong echo of {} bytes", payload.len())),
                PING => self.send(PONG, &payload).await?,
                PONG => {}
                CLOSE => {
                    let code = payload.first_chunk::<2>().map_or(1005, |code| u16::from_be_bytes(*code));
                    // The peer may have disconnected already.
                    let _ = self.send(CLOSE, &payload).await;
                    return Ok(Echo::Closed(code));
                }
                other => return Err(format!("a frame of opcode {other}")),
            }
        }
    }

    /// Sends a masked frame. The mask is constant: masks protect caches from scripts, and there are neither here.
    async fn send(&mut self, opcode: u8, payload: &[u8]) -> Result<(), String> {
        const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
        let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126).ok_or("too long a message")?;
        let mut frame = vec![0x80 | opcode, 0x80 | length];
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.stream.write_all(&frame).await.map_err(|error| format!("cannot send: {error}"))
    }

    async fn receive(&mut self) -> Result<(u8, Vec<u8>), String> {
        let broke = |error: std::io::Error| format!("cut off without a close frame: {error}");
        let first = self.stream.read_u8().await.map_err(broke)?;
        let length = match self.stream.read_u8().await.map_err(broke)? & 0x7f {
            126 => u64::from(self.stream.read_u16().await.map_err(broke)?),
            127 => self.stream.read_u64().await.map_err(broke)?,
            length => u64::from(length),
        };
        if length > FRAME_BYTES_MAX {
            return Err(format!("a frame of {length} bytes"));
        }
        let mut payload = vec![0; usize::try_from(length).unwrap_or(0)];
        self.stream.read_exact(&mut payload).await.map_err(broke)?;
        Ok((first & 0x0f, payload))
    }
}
