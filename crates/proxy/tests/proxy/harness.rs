//! A data plane in a thread, origins that do exactly what a test says, and a client that shows every byte.

use gapless_core::routes::{Backend, RouteGroup, RouteTable, SlotRole, SlotRoute};
use gapless_core::spec::ForwardSettings;
use gapless_core::spec::Route;
use gapless_core::{AppKey, Millis, Timestamp};
use gapless_proxy::control::{Acknowledgement, Client, ControlError, ProxyStatus};
use gapless_proxy::{Limits, ProxyConfig};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The deadline of every step of a test.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `condition` returns a value.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

// --- The data plane ---

pub struct Proxy {
    pub address: SocketAddr,
    pub config: ProxyConfig,
    pub control: Arc<Control>,
    thread: Option<JoinHandle<()>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    directory: Arc<TempDir>,
}

impl Proxy {
    /// A data plane with that table.
    pub fn with(table: &RouteTable) -> Self {
        Self::configured(table, |_| {})
    }

    pub fn configured(table: &RouteTable, configure: impl FnOnce(&mut ProxyConfig)) -> Self {
        let proxy = Self::empty(configure);
        proxy.put(table);
        proxy
    }

    /// A data plane without a table.
    pub fn empty(configure: impl FnOnce(&mut ProxyConfig)) -> Self {
        // In memory: a table is acknowledged once it is on disk, and a busy disk takes longer than these tests wait.
        Self::start(Arc::new(TempDir::new_in("/dev/shm").unwrap()), configure, None)
    }

    /// `other`: the start time of the data plane that may answer meanwhile.
    fn start(directory: Arc<TempDir>, configure: impl FnOnce(&mut ProxyConfig), other: Option<Timestamp>) -> Self {
        let mut config = ProxyConfig {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            inherited: Vec::new(),
            control_socket: directory.path().join("proxy.sock"),
            table_file: directory.path().join("table.json"),
            workers: 2,
            replace: false,
            limits: Limits::default(),
        };
        configure(&mut config);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = config.clone();
        let thread = thread::spawn(move || {
            let stopped = async {
                let _ = stopped.await;
            };
            gapless_proxy::serve(running, stopped).unwrap();
        });
        let control = Arc::new(Control::new(config.control_socket.clone()));
        let status = wait_for("the data plane", || {
            control.try_status().filter(|status| !status.stopping && Some(status.started_at) != other)
        });
        let address = status.listen.first().copied().unwrap_or("127.0.0.1:1".parse().unwrap());
        Proxy { address, config, control, thread: Some(thread), stop: Some(stop), directory }
    }

    /// Stops the data plane and starts another one with the same files.
    pub fn restart(mut self, configure: impl FnOnce(&mut ProxyConfig)) -> Self {
        self.end();
        Self::start(Arc::clone(&self.directory), configure, None)
    }

    /// Starts another data plane with the same files beside this one.
    pub fn beside(&self, configure: impl FnOnce(&mut ProxyConfig)) -> Self {
        Self::start(Arc::clone(&self.directory), configure, Some(self.status().started_at))
    }

    pub fn begin_stop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
    }

    pub fn end(&mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    /// The thread has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(thread::JoinHandle::is_finished)
    }

    pub fn put(&self, table: &RouteTable) -> Acknowledgement {
        self.control.call(|client| client.put_table(table)).unwrap()
    }

    pub fn status(&self) -> ProxyStatus {
        self.control.try_status().unwrap()
    }

    pub fn connect(&self) -> Conn {
        Conn::connect(self.address)
    }

    /// One request on a connection of its own; `head` without the empty line.
    pub fn ask(&self, head: &str) -> Answer {
        let mut conn = self.connect();
        conn.send(format!("{head}\r\n\r\n"));
        conn.answer_to(head.split(' ').next().unwrap())
    }

    /// A GET with that host and path.
    pub fn get(&self, host: &str, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take()
            && !thread::panicking()
        {
            let _ = thread.join();
        }
    }
}

/// The control client, to be called from a test's thread.
pub struct Control {
    runtime: tokio::runtime::Runtime,
    pub client: Client,
}

impl Control {
    pub fn new(socket: PathBuf) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Control { runtime, client: Client::new(socket) }
    }

    pub fn call<'a, T, F>(&'a self, call: impl FnOnce(&'a Client) -> F) -> Result<T, ControlError>
    where
        F: Future<Output = Result<T, ControlError>>,
    {
        self.runtime.block_on(call(&self.client))
    }

    pub fn try_status(&self) -> Option<ProxyStatus> {
        self.call(Client::status).ok()
    }
}

// --- Tables ---

pub fn key(app: &str) -> AppKey {
    AppKey::new(app.parse().unwrap(), "production".parse().unwrap())
}

pub fn route(host: &str, path: &str, strip: bool) -> Route {
    Route { host: host.parse().unwrap(), path: path.parse().unwrap(), strip, service: Default::default() }
}

/// A slot with one instance for each address; `placement` such as `shop/production/blue/1`.
pub fn slot(placement: &str, role: SlotRole, weight: u32, addresses: &[SocketAddr]) -> SlotRoute {
    let backend = |(index, address): (usize, &SocketAddr)| Backend {
        service: Default::default(),
        replica: index as u16 + 1,
        address: *address,
    };
    let placement: gapless_core::PlacementId = placement.parse().unwrap();
    SlotRoute {
        release: placement.deployment,
        placement,
        role,
        weight,
        instances: addresses.iter().enumerate().map(backend).collect(),
        drain_timeout: Millis(1000),
    }
}

pub fn live(placement: &str, addresses: &[SocketAddr]) -> SlotRoute {
    slot(placement, SlotRole::Live, 1, addresses)
}

pub fn fallback(placement: &str, addresses: &[SocketAddr]) -> SlotRoute {
    slot(placement, SlotRole::Fallback, 0, addresses)
}

pub fn group(routes: Vec<Route>, slots: Vec<SlotRoute>) -> RouteGroup {
    RouteGroup {
        routes,
        slots,
        split: None,
        forward: ForwardSettings::default(),
        hold: None,
        maintenance: None,
        preview: None,
    }
}

/// The table of one application `shop` that receives every request.
pub fn shop(version: u64, slots: Vec<SlotRoute>) -> RouteTable {
    table(version, [("shop", group(vec![route("*", "/", false)], slots))])
}

pub fn shop_with(version: u64, slots: Vec<SlotRoute>, settings: impl FnOnce(&mut ForwardSettings)) -> RouteTable {
    let mut group = group(vec![route("*", "/", false)], slots);
    settings(&mut group.forward);
    table(version, [("shop", group)])
}

pub fn table<const N: usize>(version: u64, groups: [(&str, RouteGroup); N]) -> RouteTable {
    let groups: BTreeMap<_, _> = groups.into_iter().map(|(app, group)| (key(app), Arc::new(group))).collect();
    RouteTable { version, groups }
}

pub const BLUE: &str = "shop/production/blue/1";
pub const GREEN: &str = "shop/production/green/2";

// --- Origins ---

/// A server that runs a closure of the test for each connection.
pub struct Origin {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    pub heads: Arc<Mutex<Vec<String>>>,
}

impl Origin {
    /// `serve` receives each connection with its number, counted from 0.
    pub fn raw(serve: impl Fn(&mut Conn, usize) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin =
            Origin { address: listener.local_addr().unwrap(), connections: Arc::default(), heads: Arc::default() };
        let (connections, heads, serve) = (Arc::clone(&origin.connections), Arc::clone(&origin.heads), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let number = connections.fetch_add(1, Ordering::SeqCst);
                let (serve, heads) = (Arc::clone(&serve), Arc::clone(&heads));
                thread::spawn(move || {
                    let mut conn = Conn::new(stream.unwrap());
                    conn.heads = Some(heads);
                    // The other side may disconnect at any time.
                    let _ = serve(&mut conn, number);
                });
            }
        });
        origin
    }

    /// Reads every request whole and answers with `answer`.
    pub fn answering(answer: impl Fn(&Message) -> String + Send + Sync + 'static) -> Self {
        Self::raw(move |conn, _| {
            loop {
                let message = conn.read_message("")?;
                conn.try_send(answer(&message))?;
            }
        })
    }

    /// Answers with its name and the received request.
    pub fn named(name: &'static str) -> Self {
        Self::answering(move |message| {
            let body = format!("{}{}", message.head, String::from_utf8_lossy(&message.body));
            format!("HTTP/1.1 200 OK\r\nX-Origin: {name}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        })
    }

    pub fn requests(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The only received head.
    pub fn head(&self) -> String {
        let heads = self.heads.lock().unwrap();
        assert_eq!(heads.len(), 1, "{heads:?}");
        heads[0].clone()
    }
}

/// A different unused address on each call. A port that was just released could be taken by another test.
pub fn nobody() -> SocketAddr {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::SeqCst);
    SocketAddr::from(([127, 9, (count / 250) as u8, (count % 250) as u8 + 1], 1))
}

// --- Connections ---

/// A connection, with the bytes that were read and not yet used.
pub struct Conn {
    pub stream: TcpStream,
    pub rest: Vec<u8>,
    heads: Option<Arc<Mutex<Vec<String>>>>,
}

/// A request or an answer.
#[derive(Debug, Clone)]
pub struct Message {
    /// With the empty line.
    pub head: String,
    pub body: Vec<u8>,
    /// The trailers of a chunked body.
    pub trailers: String,
}

pub type Answer = Message;

impl Message {
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// All values of a header, in order.
    pub fn all(&self, name: &str) -> Vec<String> {
        header_values(&self.head, name)
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let mut values = self.all(name);
        assert!(values.len() < 2, "{name} stands there twice: {}", self.head);
        values.pop()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub fn header_values(head: &str, name: &str) -> Vec<String> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
        .collect()
}

impl Conn {
    pub fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Conn { stream, rest: Vec::new(), heads: None }
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// The answer to a GET.
    pub fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    pub fn answer_to(&mut self, method: &str) -> Answer {
        self.read_message(method).unwrap()
    }

    /// A request on this connection, and its answer.
    pub fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n\r\n"));
        self.answer()
    }

    fn more(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 << 10];
        let read = self.stream.read(&mut buffer)?;
        self.rest.extend_from_slice(&buffer[..read]);
        Ok(read)
    }

    fn need_more(&mut self) -> io::Result<()> {
        if self.more()? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Reads up to and including `end`.
    pub fn read_until(&mut self, end: &str) -> io::Result<String> {
        loop {
            if let Some(at) = self.rest.windows(end.len()).position(|window| window == end.as_bytes()) {
                let text: Vec<u8> = self.rest.drain(..at + end.len()).collect();
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
            self.need_more()?;
        }
    }

    pub fn read_exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.rest.len() < length {
            self.need_more()?;
        }
        Ok(self.rest.drain(..length).collect())
    }

    /// Reads until the other side ends or resets the connection.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while self.more().is_ok_and(|read| read > 0) {}
        std::mem::take(&mut self.rest)
    }

    pub fn read_head(&mut self) -> io::Result<String> {
        let head = self.read_until("\r\n\r\n")?;
        if let Some(heads) = &self.heads {
            heads.lock().unwrap().push(head.clone());
        }
        Ok(head)
    }

    /// Reads a request, when `method` is empty, or else the final answer to such a request.
    pub fn read_message(&mut self, method: &str) -> io::Result<Message> {
        let head = self.read_head()?;
        let is_answer = !method.is_empty();
        let code = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut message = Message { head, body: Vec::new(), trailers: String::new() };
        if is_answer && (method == "HEAD" || code == "204" || code == "304" || code.starts_with('1')) {
            return Ok(message);
        }
        if let Some(length) = message.header("content-length") {
            message.body = self.read_exactly(length.parse().unwrap())?;
        } else if message.header("transfer-encoding").is_some() {
            (message.body, message.trailers) = self.read_chunked()?;
        } else if is_answer {
            message.body = self.read_to_end();
        }
        Ok(message)
    }

    fn read_chunked(&mut self) -> io::Result<(Vec<u8>, String)> {
        let mut body = Vec::new();
        loop {
            let line = self.read_until("\r\n")?;
            let size = usize::from_str_radix(line.trim_end().split(';').next().unwrap(), 16).unwrap();
            if size == 0 {
                break;
            }
            body.extend(self.read_exactly(size)?);
            assert_eq!(self.read_exactly(2)?, b"\r\n");
        }
        let mut trailers = String::new();
        loop {
            let line = self.read_until("\r\n")?;
            if line == "\r\n" {
                return Ok((body, trailers));
            }
            write!(trailers, "{line}").unwrap();
        }
    }

    /// Waits for the other side to end the connection; true when it does.
    pub fn is_ended(&mut self) -> bool {
        self.rest.is_empty() && !matches!(self.more(), Ok(1..)) && self.rest.is_empty()
    }

    /// True when no byte arrives for that long and the connection stays open.
    pub fn is_quiet_for(&mut self, duration: Duration) -> bool {
        self.stream.set_read_timeout(Some(duration)).unwrap();
        let read = self.more();
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        matches!(read, Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    }
}
