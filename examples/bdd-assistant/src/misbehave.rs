//! Failures on purpose, for tests. `MISBEHAVE` is a comma-separated list:
//!
//! | word | effect |
//! | --- | --- |
//! | `start-slow=SECONDS` | listens only after that time |
//! | `exit-at-start=CODE` | exits instead of listening |
//! | `never-listen` | runs and never listens |
//! | `port=PORT` | listens on another port than the configured one |
//! | `never-healthy` | `/up` answers 500 |
//! | `redirect-up` | `/up` answers 301 to https |
//! | `unhealthy-after=SECONDS` | `/up` answers 500 that long after its first request |
//! | `exit-after=SECONDS[:CODE]` | exits that long after it was first healthy |
//! | `oom-after=SECONDS` | allocates memory without end, that long after it was first healthy |
//! | `errors` | every answer except `/up` is 500 |
//! | `errors-after=SECONDS` | the same, that long after it was first healthy |
//! | `errors-share=PERCENT` | that share of these answers is 500 |
//! | `hang` | no request except `/up` is ever answered |
//! | `flood=MB` | writes that much output per second, in lines of a hundred bytes |
//! | `long-line=MB` | writes one line of that length, and then reports that |
//! | `leak=MB` | allocates that much more memory each second |
//! | `flap=SECONDS` | `/up` alternates between 200 and 500, each for that long |
//! | `slow=MS` | delays every answer by that time |
//! | `ignore-sigterm` | does not exit on SIGTERM |
//! | `hold` | keeps event streams and WebSockets open after SIGTERM |

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::io::Write;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A flood comes in bursts at this interval, in lines of `LINE_BYTES` bytes and a newline.
const FLOOD_TICK_MS: u64 = 10;
const LINE_BYTES: u64 = 99;

/// The configured failures.
#[derive(Debug, Default)]
pub struct Misbehaviour {
    start_slow_s: u64,
    exit_at_start: Option<i32>,
    never_listens: bool,
    /// Replaces the configured port.
    pub port: Option<u16>,
    never_healthy: bool,
    redirects_up: bool,
    unhealthy_after_s: Option<u64>,
    exit_after: Option<(u64, i32)>,
    oom_after_s: Option<u64>,
    errors: bool,
    errors_after_s: Option<u64>,
    errors_percent: u64,
    hangs: bool,
    flood_mb: u64,
    long_line_mb: u64,
    leak_mb: u64,
    flap_s: Option<u64>,
    answered: AtomicU64,
    slow_ms: u64,
    /// Ignores SIGTERM.
    pub ignores_sigterm: bool,
    /// Keeps streams open after SIGTERM.
    pub keeps_streams: bool,
    first_asked: OnceLock<Instant>,
}

impl Misbehaviour {
    /// Parses the list.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut this = Misbehaviour::default();
        for word in list.split(',').filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name {
                "start-slow" => this.start_slow_s = number(word, value)?,
                "exit-at-start" => this.exit_at_start = Some(number(word, value)?),
                "never-listen" => this.never_listens = true,
                "port" => this.port = Some(number(word, value)?),
                "never-healthy" => this.never_healthy = true,
                "redirect-up" => this.redirects_up = true,
                "unhealthy-after" => this.unhealthy_after_s = Some(number(word, value)?),
                "exit-after" => {
                    let (seconds, code) = value.split_once(':').unwrap_or((value, "1"));
                    this.exit_after = Some((number(word, seconds)?, number(word, code)?));
                }
                "oom-after" => this.oom_after_s = Some(number(word, value)?),
                "errors" => this.errors = true,
                "errors-after" => this.errors_after_s = Some(number(word, value)?),
                "errors-share" => this.errors_percent = number(word, value)?,
                "hang" => this.hangs = true,
                "flood" => this.flood_mb = number(word, value)?,
                "long-line" => this.long_line_mb = number(word, value)?,
                "leak" => this.leak_mb = number(word, value)?,
                "flap" => this.flap_s = Some(number(word, value)?),
                "slow" => this.slow_ms = number(word, value)?,
                "ignore-sigterm" => this.ignores_sigterm = true,
                "hold" => this.keeps_streams = true,
                _ => return Err(format!("MISBEHAVE: {word:?} is unknown")),
            }
        }
        Ok(this)
    }

    /// The failures before the listen.
    pub async fn before_listening(&self) {
        tokio::time::sleep(Duration::from_secs(self.start_slow_s)).await;
        if let Some(code) = self.exit_at_start {
            eprintln!("exiting on purpose");
            std::process::exit(code);
        }
        if self.never_listens {
            std::future::pending::<()>().await;
        }
    }

    /// The answer of `/up`, unless it is 200.
    pub fn health(&self) -> Option<Response> {
        let is_first = self.first_asked.get().is_none();
        let since = *self.first_asked.get_or_init(Instant::now);
        if is_first {
            self.start_failures();
        }
        if self.redirects_up {
            return Some((StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, "https://localhost/up")]).into_response());
        }
        let is_late = self.unhealthy_after_s.is_some_and(|seconds| since.elapsed() >= Duration::from_secs(seconds));
        let is_down = self.flap_s.is_some_and(|seconds| since.elapsed().as_secs() / seconds.max(1) % 2 == 1);
        (self.never_healthy || is_late || is_down)
            .then(|| (StatusCode::INTERNAL_SERVER_ERROR, "unhealthy\n").into_response())
    }

    /// Counts this answer and decides if it is an error.
    fn fails_now(&self) -> bool {
        let since = self.first_asked.get().map(Instant::elapsed).unwrap_or_default();
        let is_late = self.errors_after_s.is_some_and(|seconds| since >= Duration::from_secs(seconds));
        // Spread evenly, so that tests do not depend on chance.
        let number = self.answered.fetch_add(1, Ordering::Relaxed);
        self.errors || is_late || number * self.errors_percent % 100 + self.errors_percent > 99
    }

    fn start_failures(&self) {
        if self.flood_mb > 0 || self.long_line_mb > 0 {
            let (flood_mb, long_line_mb) = (self.flood_mb, self.long_line_mb);
            std::thread::spawn(move || flood(flood_mb, long_line_mb));
        }
        let leak_mb = usize::try_from(self.leak_mb).unwrap_or(0);
        if leak_mb > 0 {
            tokio::spawn(async move {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(vec![1_u8; leak_mb << 20]);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
        }
        if let Some((seconds, code)) = self.exit_after {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                eprintln!("exiting on purpose");
                std::process::exit(code);
            });
        }
        if let Some(seconds) = self.oom_after_s {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                let mut hoard = Vec::new();
                loop {
                    // Written to, since the kernel does not allocate untouched pages.
                    hoard.push(vec![1_u8; 8 << 20]);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        }
    }
}

/// Writes one long line, then numbered lines at the configured rate, until the reader closes the pipe.
fn flood(mb_per_s: u64, long_line_mb: u64) {
    let mut output = std::io::stdout().lock();
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..long_line_mb {
        if output.write_all(&piece).is_err() {
            return;
        }
    }
    if long_line_mb > 0 && writeln!(output, "\nthe long line is written").is_err() {
        return;
    }
    let began = Instant::now();
    let lines_per_tick = mb_per_s * FLOOD_TICK_MS * 1_000 / LINE_BYTES;
    let mut count = 0_u64;
    for tick in 1.. {
        let mut text = String::new();
        for _ in 0..lines_per_tick {
            text.push_str(&format!("line {count:>93}\n"));
            count += 1;
        }
        if mb_per_s == 0 || output.write_all(text.as_bytes()).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(tick * FLOOD_TICK_MS).saturating_sub(began.elapsed()));
    }
}

/// Adds errors and delays to every answer except the health check's.
pub async fn layer(State(misbehaviour): State<Arc<Misbehaviour>>, request: Request, next: Next) -> Response {
    if request.uri().path() == "/up" {
        return next.run(request).await;
    }
    if misbehaviour.slow_ms > 0 {
        tokio::time::sleep(Duration::from_millis(misbehaviour.slow_ms)).await;
    }
    if misbehaviour.hangs {
        std::future::pending::<()>().await;
    }
    if misbehaviour.fails_now() {
        return (StatusCode::INTERNAL_SERVER_ERROR, "failing on purpose\n").into_response();
    }
    next.run(request).await
}

fn number<T: FromStr>(word: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("MISBEHAVE: {word:?} needs a number"))
}
