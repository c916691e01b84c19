//! BDD Assistant: teams write stories with a narrative and scenarios. Both slots share one file of stories.
//!
//! Listens on `$PORT` (default 9000) and keeps its stories in `$DATA_DIR` (default: the current folder). `$MISBEHAVE`
//! makes it fail as tests need; see `misbehave.rs`. `bdd-assistant check` is its smoke test; see `check.rs`.

mod app;
mod check;
mod load;
mod misbehave;
mod page;
mod store;
mod stories;

use app::{App, label};
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use misbehave::Misbehaviour;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long requests may take to finish after SIGTERM.
const DRAIN: Duration = Duration::from_secs(8);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("check") => check::run(),
        _ => run().await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bdd-assistant: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    let variable = |name: &str| std::env::var(name).ok();
    let misbehaviour = Misbehaviour::parse(&variable("MISBEHAVE").unwrap_or_default())?;
    let port = variable("PORT").map_or(Ok(9000), |port| port.parse()).map_err(|_| "PORT is not a port".to_owned())?;
    let port = misbehaviour.port.unwrap_or(port);
    let data = variable("DATA_DIR").unwrap_or_else(|| ".".to_owned());
    let store = Store::open(data.as_ref()).map_err(|error| format!("{data} cannot be used: {error}"))?;
    let (release, slot) = (label("GAPLESS_RELEASE"), label("GAPLESS_SLOT"));
    println!("release {release} starts in {slot}, port {port}");

    misbehaviour.before_listening().await;
    let ending = CancellationToken::new();
    let app = Arc::new(App { store, misbehaviour: Arc::new(misbehaviour), ending: ending.clone() });
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    // Before the listen: as soon as the port is open, a SIGTERM may come.
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let listener = TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let (ignores, keeps_streams) = (app.misbehaviour.ignores_sigterm, app.misbehaviour.keeps_streams);
    let stop_signal = async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if !ignores {
                break;
            }
        }
        println!("release {} ends", label("GAPLESS_RELEASE"));
        if !keeps_streams {
            ending.cancel();
        }
    };
    let is_ending = Arc::new(tokio::sync::Notify::new());
    let notify = is_ending.clone();
    let serving = axum::serve(listener, router(app)).with_graceful_shutdown(async move {
        stop_signal.await;
        notify.notify_one();
    });
    tokio::select! {
        ended = async { serving.await } => ended.map_err(|error| error.to_string()),
        () = async { is_ending.notified().await; tokio::time::sleep(DRAIN).await } => Ok(()),
    }
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/up", get(up))
        .route("/api/stories", get(stories::list).post(stories::create))
        .route("/api/stories/{id}", get(stories::show).put(stories::replace).delete(stories::remove))
        .route("/echo", post(load::echo))
        .route("/ws/echo", get(load::websocket))
        .route("/events", get(load::events))
        .route("/download", get(load::download))
        .route("/slow", get(load::slow))
        .layer(middleware::from_fn_with_state(app.misbehaviour.clone(), misbehave::layer))
        .layer(middleware::map_response(label_response))
        .with_state(app)
}

async fn up(axum::extract::State(app): axum::extract::State<Arc<App>>, _: Request) -> Response {
    match app.misbehaviour.health() {
        Some(answer) => answer,
        None => (StatusCode::OK, "up\n").into_response(),
    }
}

/// Adds headers with the release and service to every answer.
async fn label_response(mut response: Response) -> Response {
    let labels = [("x-release", "GAPLESS_RELEASE"), ("x-slot", "GAPLESS_SLOT"), ("x-service", "GAPLESS_SERVICE")];
    for (header, variable) in labels {
        if let Ok(value) = HeaderValue::from_str(&label(variable)) {
            response.headers_mut().insert(header, value);
        }
    }
    response
}
