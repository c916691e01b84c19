//! `gapless-ledger`: a load from the command line, with a report.

use clap::Parser;
use gapless_ledger::{Ledger, LoadPlan, Mix, Report};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Sends requests and records their results. Ends after --duration or --requests, on SIGTERM or on SIGINT.
#[derive(Parser)]
#[command(name = "gapless-ledger")]
struct Args {
    /// The address for the requests
    #[arg(long)]
    address: SocketAddr,
    /// The Host header [default: the address]
    #[arg(long)]
    host: Option<String>,
    /// Requests a second
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// The duration in seconds
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,
    /// The number of requests
    #[arg(long)]
    requests: Option<u64>,
    /// `all` kinds, only `get`, or `get-forgiving` for servers that close kept connections between requests
    #[arg(long, default_value = "all", value_parser = ["all", "get", "get-forgiving"])]
    mix: String,
    /// The number of kept connections
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> ExitCode {
    let args = Args::parse();
    let plan = LoadPlan {
        host: args.host.clone().unwrap_or_else(|| args.address.to_string()),
        rate_per_s: args.rate,
        mix: match args.mix.as_str() {
            "get" => Mix::Get,
            "get-forgiving" => Mix::GetForgiving,
            _ => Mix::All,
        },
        connections: args.connections,
        requests_max: args.requests,
        ..LoadPlan::new(args.address)
    };
    let running = Ledger::start(plan);
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        eprintln!("gapless-ledger: signals cannot be received");
        return ExitCode::FAILURE;
    };
    let enough = async {
        let limit = args.duration.map_or(Duration::MAX, Duration::from_secs);
        let began = tokio::time::Instant::now();
        while began.elapsed() < limit && args.requests.is_none_or(|max| running.requests() < max) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = enough => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let report = running.stop().await;
    if args.json {
        println!("{}", serde_json::to_string(&report).unwrap_or_default());
    } else {
        print(&report);
    }
    if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(report: &Report) {
    println!("{} requests in {} ms, {} failed", report.requests, report.duration_ms, report.failed);
    for (release, count) in &report.by_release {
        println!("  release {release:<8} {:>8}, from {} to {} µs", count.requests, count.first_at_us, count.last_at_us);
    }
    for (kind, count) in &report.by_kind {
        println!("  {kind:<18?} {count:>8}");
    }
    let latency = &report.latency;
    println!(
        "  latency {} / {} / {} / {} µs (p50, p90, p99, max)",
        latency.p50_us, latency.p90_us, latency.p99_us, latency.max_us
    );
    for failure in &report.failures {
        println!("  failed: {failure:?}");
    }
}
