//! A socket in front of an Engine's socket: it passes calls on, or injects the fault of a rule.
//!
//! One request for each connection: each gets `Connection: close`, so that only its head has to be parsed.

use super::{Call, Fault, Rule};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The maximum length of the head of a request.
const HEAD_MAX: usize = 64 << 10;
/// After this time without a byte, an endless answer is regarded as complete.
const ENDLESS_PAUSE: Duration = Duration::from_millis(500);

/// The socket, removed when this is dropped.
pub struct FaultySocket {
    path: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    engine: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rule: Option<Rule>,
    faulty: u64,
    calls: Vec<Call>,
    /// Waiting clients; the flag says that a client waits for the end of a fault.
    clients: BTreeMap<u64, (UnixStream, bool)>,
    next: u64,
    /// The number of the active listener; earlier listeners exit.
    listener: u64,
}

impl FaultySocket {
    /// Listens at `path`, in front of the Engine at `engine`.
    ///
    /// # Panics
    /// If the socket cannot be bound.
    #[must_use]
    pub fn new(path: &Path, engine: &Path) -> Self {
        let shared = Arc::new(Shared { engine: engine.to_owned(), state: Mutex::default() });
        let socket = FaultySocket { path: path.to_owned(), shared };
        socket.come_back();
        socket
    }

    /// The path of the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Injects the faults of this rule from now on.
    pub fn arm(&self, rule: Rule) {
        let mut state = self.shared.lock();
        (state.rule, state.faulty) = (Some(rule), 0);
    }

    /// The number of faulty calls since the rule was set.
    #[must_use]
    pub fn faulty(&self) -> u64 {
        self.shared.lock().faulty
    }

    /// Removes the rule and cuts off hanging calls; returns the number of faulty calls.
    pub fn heal(&self) -> u64 {
        let mut state = self.shared.lock();
        state.rule = None;
        state.cut_off(true);
        state.faulty
    }

    /// The calls since the last query.
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.shared.lock().calls)
    }

    /// Makes connections fail: the socket file exists without a listener.
    pub fn refuse(&self) {
        self.end_listening();
        let _ = std::fs::remove_file(&self.path);
        // A bound and dropped socket stays as a file.
        drop(UnixListener::bind(&self.path).expect("a socket can be bound"));
    }

    /// Removes the socket.
    pub fn go_away(&self) {
        self.end_listening();
        let _ = std::fs::remove_file(&self.path);
    }

    /// Listens again.
    ///
    /// # Panics
    /// If the socket cannot be bound.
    pub fn come_back(&self) {
        self.end_listening();
        let _ = std::fs::remove_file(&self.path);
        let listener = UnixListener::bind(&self.path).expect("a socket can be bound");
        let (shared, number) = (self.shared.clone(), self.shared.lock().listener);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if shared.lock().listener != number {
                    return;
                }
                let shared = shared.clone();
                if let Ok(client) = client {
                    std::thread::spawn(move || shared.serve(client));
                }
            }
        });
    }

    fn end_listening(&self) {
        {
            let mut state = self.shared.lock();
            state.listener += 1;
            state.cut_off(false);
        }
        // Wakes the old listener, which checks whether it is still active.
        drop(UnixStream::connect(&self.path));
    }
}

impl Drop for FaultySocket {
    fn drop(&mut self) {
        self.go_away();
    }
}

impl State {
    fn cut_off(&mut self, only_hung: bool) {
        for (client, _) in self.clients.values().filter(|(_, is_hung)| *is_hung || !only_hung) {
            // The client may have disconnected already.
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut client: UnixStream) {
        let Ok(copy) = client.try_clone() else { return };
        let number = {
            let mut state = self.lock();
            state.next += 1;
            let number = state.next;
            state.clients.insert(number, (copy, false));
            number
        };
        // A client that disconnects early is no fault of this socket.
        let _ = self.answer(number, &mut client);
        let _ = client.shutdown(Shutdown::Both);
        self.lock().clients.remove(&number);
    }

    fn answer(&self, number: u64, client: &mut UnixStream) -> std::io::Result<()> {
        let Some(request) = Request::read(client)? else { return Ok(()) };
        let fault = {
            let mut state = self.lock();
            state.calls.push(request.call.clone());
            let fault = state.rule.as_mut().and_then(|rule| rule.apply(&request.call));
            state.faulty += u64::from(fault.is_some());
            if let Some((_, is_hung)) = state.clients.get_mut(&number) {
                *is_hung = fault == Some(Fault::Hang);
            }
            fault
        };
        match fault {
            None => self.pass(client, &request),
            Some(Fault::Close) => Ok(()),
            Some(Fault::Hang) => wait(client, None).map(drop),
            Some(Fault::Late(after)) => match wait(client, Some(after))? {
                Waited::Gone => Ok(()),
                Waited::Time => self.pass(client, &request),
            },
            Some(Fault::Status(status)) => {
                let body = format!("{{\"message\":\"a fault under test: {status}\"}}\n");
                let length = body.len();
                write!(
                    client,
                    "HTTP/1.1 {status} Fault\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                )
            }
            Some(Fault::Half) => {
                let answer = self.ask(client, &request)?;
                client.write_all(&answer[..answer.len() / 2])
            }
            Some(Fault::NoAnswer) => self.ask(client, &request).map(drop),
        }
    }

    /// Connects client and Engine.
    fn pass(&self, client: &mut UnixStream, request: &Request) -> std::io::Result<()> {
        let mut engine = self.send(client, request)?;
        std::io::copy(&mut engine, client).map(drop)
    }

    /// Lets the Engine execute the request, and withholds the answer from the client.
    fn ask(&self, client: &UnixStream, request: &Request) -> std::io::Result<Vec<u8>> {
        let mut engine = self.send(client, request)?;
        if request.call.is_endless() {
            engine.set_read_timeout(Some(ENDLESS_PAUSE))?;
        }
        let mut answer = Vec::new();
        match engine.read_to_end(&mut answer) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(answer),
        }
    }

    /// Forwards a request, with all further bytes of the client until it disconnects.
    fn send(&self, client: &UnixStream, request: &Request) -> std::io::Result<UnixStream> {
        let mut engine = UnixStream::connect(&self.engine)?;
        engine.write_all(&request.bytes)?;
        let (mut from, mut to) = (client.try_clone()?, engine.try_clone()?);
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            // A client that has disconnected wants no further data, such as events.
            let _ = to.shutdown(Shutdown::Both);
        });
        Ok(engine)
    }
}

/// A request as far as it was read: its head, changed to close the connection, and the bytes after it.
struct Request {
    call: Call,
    bytes: Vec<u8>,
}

impl Request {
    fn read(client: &mut UnixStream) -> std::io::Result<Option<Request>> {
        let mut read = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let count = client.read(&mut piece)?;
            if count == 0 || read.len() > HEAD_MAX {
                return Ok(None);
            }
            read.extend_from_slice(&piece[..count]);
            if let Some(request) = Request::parse(&read)? {
                return Ok(Some(request));
            }
        }
    }

    fn parse(read: &[u8]) -> std::io::Result<Option<Request>> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Request::new(&mut headers);
        let invalid = |error| std::io::Error::new(ErrorKind::InvalidData, error);
        let httparse::Status::Complete(length) = head.parse(read).map_err(invalid)? else { return Ok(None) };
        let (method, target) = (head.method.unwrap_or_default(), head.path.unwrap_or_default());
        let mut bytes = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
        let is_upgrade = head.headers.iter().any(|header| header.name.eq_ignore_ascii_case("upgrade"));
        for header in head.headers.iter() {
            if is_upgrade || !header.name.eq_ignore_ascii_case("connection") {
                bytes.extend([header.name.as_bytes(), b": ", header.value, b"\r\n"].concat());
            }
        }
        bytes.extend_from_slice(if is_upgrade { b"\r\n" } else { b"Connection: close\r\n\r\n" });
        bytes.extend_from_slice(&read[length..]);
        Ok(Some(Request { call: Call::of(method, target), bytes }))
    }
}

enum Waited {
    /// The client has disconnected, or was cut off.
    Gone,
    /// The time has passed.
    Time,
}

/// Waits until the client disconnects, or the time has passed. Further bytes, such as the rest of a body, stay unread.
fn wait(client: &UnixStream, within: Option<Duration>) -> std::io::Result<Waited> {
    let give_up_at = within.map(|within| std::time::Instant::now() + within);
    loop {
        let left = give_up_at.map(|at| at.saturating_duration_since(std::time::Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(Waited::Time);
        }
        let timeout = left.and_then(|left| rustix::event::Timespec::try_from(left).ok());
        // Only the close of the other side: `RDHUP`, or `HUP`, which is always reported.
        let mut one = [rustix::event::PollFd::new(client, rustix::event::PollFlags::RDHUP)];
        match rustix::event::poll(&mut one, timeout.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(Waited::Gone),
            Err(error) => return Err(error.into()),
        }
    }
}
