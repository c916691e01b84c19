//! A migration of two seconds with requests on hold: no request fails, and all are released at once.

use gapless_harness::{App, Host, Outcome, Runtime};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const RATE_PER_S: u64 = 500;

/// A request: the times of its sending and its answer, in milliseconds since the Unix epoch, and whether it succeeded.
struct Sent {
    at_ms: f64,
    done_ms: f64,
    is_good: bool,
}

/// Deploys with a migration of two seconds during which requests are on hold.
#[must_use]
pub fn scenario() -> Outcome {
    let host = Host::start();
    let app = App::new("shop", Runtime::Docker);
    let gapless = host.gapless().within(&app.write(host.folder()));
    gapless.ok(["deploy"]);
    let tables = "[[migrate]]\nname = \"schema\"\nwhen = \"held\"\ncommand = [\"sleep\", \"2\"]\n";
    App { tables: tables.to_owned(), ..app }.write(host.folder());

    let tokio = tokio::runtime::Runtime::new().expect("tokio can be set up");
    let sent = Arc::new(Mutex::new(Vec::new()));
    let load = tokio.spawn(send(host.address(), sent.clone()));
    std::thread::sleep(Duration::from_secs(2));
    let ran = gapless.ok(["deploy"]);
    print!("{}", ran.stdout);
    std::thread::sleep(Duration::from_secs(1));
    load.abort();
    // Requests in flight still have to finish.
    std::thread::sleep(Duration::from_secs(1));

    let receipt = gapless.latest().receipt;
    let cutover_ms = receipt.cutover_at.map_or(0.0, |at| at.0 as f64);
    let sent = sent.lock().expect("no thread panicked with the lock");
    let failed = sent.iter().filter(|request| !request.is_good).count();
    let held = sent.iter().filter(|request| request.at_ms < cutover_ms && request.done_ms > cutover_ms);
    let released: Vec<_> = held.map(|request| request.done_ms - cutover_ms).collect();
    let figures = json!({
        "requests": sent.len(),
        "failed": failed,
        // From the table that lifts the hold until the last held request is forwarded, as measured by the proxy.
        "release_ms_max": receipt.held_release_us as f64 / 1000.0,
        // From the commit until the last held request is answered, as measured by its client.
        "answered_ms_max": released.iter().copied().fold(0.0, f64::max).round(),
        "held": receipt.held,
        "longest_ms": receipt.held_longest_us / 1000,
        "released": released.len(),
    });
    let violations = (failed > 0).then(|| format!("{failed} lost requests")).into_iter().collect();
    Outcome { figures, violations }
}

/// Sends requests at a fixed rate, however slow the answers are, each on its own connection.
async fn send(address: SocketAddr, sent: Arc<Mutex<Vec<Sent>>>) {
    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / RATE_PER_S));
    loop {
        ticks.tick().await;
        let sent = sent.clone();
        tokio::spawn(async move {
            let at_ms = now_ms();
            let answer = tokio::time::timeout(Duration::from_secs(30), get(address)).await;
            let is_good = matches!(answer, Ok(Ok(text)) if text.starts_with("HTTP/1.1 200"));
            sent.lock().expect("no thread panicked with the lock").push(Sent { at_ms, done_ms: now_ms(), is_good });
        });
    }
}

async fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1000.0
}
