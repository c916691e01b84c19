//! A WebSocket client (RFC 6455) whose messages must come back, and which notices a cut connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
const TEXT: u8 = 1;

/// An open WebSocket to the echo of the example application.
pub struct WebSocket {
    stream: BufReader<TcpStream>,
    release: String,
}

impl WebSocket {
    /// Opens a WebSocket, if the application of this host accepts it.
    #[must_use]
    pub fn open(address: SocketAddr, host: &str) -> Option<Self> {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(ANSWER_DEADLINE)).ok()?;
        write!(
            stream,
            "GET /ws/echo HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .ok()?;
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let release =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("x-release: ").map(str::to_owned));
        head.starts_with("HTTP/1.1 101").then(|| WebSocket { stream, release: release.unwrap_or_default() })
    }

    /// The release that has the WebSocket.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Sends a message and returns whether it comes back.
    pub fn echoes(&mut self) -> bool {
        const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
        let message = b"still there?";
        let mut frame = vec![0x80 | TEXT, 0x80 | 12];
        frame.extend(MASK);
        frame.extend(message.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        let mut answer = [0; 14];
        let echoed = self.stream.get_mut().write_all(&frame).and_then(|()| self.stream.read_exact(&mut answer));
        echoed.is_ok() && answer[0] & 0x0f == TEXT && answer[2..] == message[..]
    }
}
