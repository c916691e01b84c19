//! The demonstration: release 1, a load, release 2, a rollback, and the receipt. `./scripts/demo` builds and runs it.

use clap::Parser;
use gapless_core::{Deployment, Timestamp};
use gapless_harness::programs::program;
use gapless_harness::{App, Host, Load, Runtime, free_port};
use gapless_ledger::Report;
use serde::Serialize;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Deploys the example application twice under load, rolls it back, and prints the receipt.
#[derive(Parser)]
#[command(name = "demo")]
struct Args {
    /// The runtime of the application
    #[arg(long, default_value = "docker", value_parser = ["docker", "process"])]
    runtime: String,
    /// Print one JSON object as the last line
    #[arg(long)]
    json: bool,
    /// Stop and remove the remains of an earlier run
    #[arg(long)]
    stop: bool,
    /// The folder for all files
    #[arg(long, default_value = ".gapless/demo")]
    folder: PathBuf,
    /// Requests a second
    #[arg(long, default_value_t = 500)]
    rate: u32,
}

/// The receipt, for programs.
#[derive(Serialize)]
struct Receipt {
    runtime: String,
    requests: u64,
    failed: u64,
    cutover_us: u64,
    deploy_ms: u64,
    rollback_ms: u64,
    rollback_cutover_us: u64,
    phases_ms: Vec<(String, u64)>,
    by_release: serde_json::Value,
}

/// The preferred port.
const PORT: u16 = 8080;
/// The duration of the load before, between and after the changes.
const REST: Duration = Duration::from_secs(2);

fn main() {
    let args = Args::parse();
    let folder = std::path::absolute(&args.folder).expect("the folder has a path");
    let had_one = Host::remove_left(&folder);
    if args.stop {
        println!("{}", if had_one { "stopped and removed" } else { "nothing runs" });
        return;
    }
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    let mut host = Host::at(&folder, address());
    host.start_server();
    let receipt = show(&args, &host, &folder);
    let (listen, socket) = (host.address(), host.socket());
    host.leave();
    println!();
    println!("open it:       http://{listen}/");
    println!("inspect it:    {} status --socket {}", shown(&program()), socket.display());
    println!("stop it:       ./scripts/demo --stop");
    if args.json {
        println!("{}", serde_json::to_string(&receipt).expect("the receipt is JSON"));
    }
    if receipt.failed > 0 {
        std::process::exit(1);
    }
}

/// A path as a user of this folder would type it.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    match here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned)) {
        Some(path) => format!("./{}", path.display()),
        None => path.display().to_string(),
    }
}

fn show(args: &Args, host: &Host, folder: &Path) -> Receipt {
    let runtime = if args.runtime == "docker" { Runtime::Docker } else { Runtime::Process };
    let app = App::new("bdd-assistant", runtime).write(folder);
    let gapless = host.gapless().within(&app);

    println!("$ gapless deploy                                      # release 1");
    print!("{}", gapless.ok(["deploy"]).stdout);

    println!("\nstarting a load: {} requests a second, of all kinds", args.rate);
    let load = Load::of_all_kinds(host.address(), args.rate);
    std::thread::sleep(REST);

    // The image is the same as for release 1, so without --force there would be nothing to deploy.
    println!("\n$ gapless deploy --force                              # release 2, under load");
    print!("{}", gapless.ok(["deploy", "--force"]).stdout);
    std::thread::sleep(REST);

    println!("\n$ gapless rollback                                    # back to release 1, under load");
    let began = Instant::now();
    let back = gapless.ok(["rollback"]);
    let rollback_ms = began.elapsed().as_millis();
    print!("{}", back.stdout);
    std::thread::sleep(REST);

    let report = load.stop();
    let history: Vec<Deployment> = gapless.json(["history", "--json"]);
    receipt(args, &report, &history, u64::try_from(rollback_ms).unwrap_or(u64::MAX))
}

fn receipt(args: &Args, report: &Report, history: &[Deployment], rollback_ms: u64) -> Receipt {
    let of = |number: u64| {
        history.iter().find(|deployment| deployment.number == number).expect("the deployment is in the history")
    };
    let (second, back) = (of(2), of(3));
    let cutover_at = second.receipt.cutover_at.unwrap_or(Timestamp(0));
    let cutover_us = |deployment: &Deployment| deployment.receipt.cutover_us.unwrap_or(0);
    let passed = second.passed.iter().filter(|passed| passed.until > passed.since);
    let receipt = Receipt {
        runtime: args.runtime.clone(),
        requests: report.requests,
        failed: report.failed,
        cutover_us: cutover_us(second),
        deploy_ms: cutover_at.since(second.requested_at).0 + cutover_us(second).div_ceil(1000),
        rollback_ms,
        rollback_cutover_us: cutover_us(back),
        phases_ms: passed.map(|passed| (passed.phase.clone(), passed.until.since(passed.since).0)).collect(),
        by_release: serde_json::to_value(&report.by_release).unwrap_or_default(),
    };
    println!("\nreceipt");
    println!("  requests         {}", receipt.requests);
    println!("  failed requests  {}", receipt.failed);
    for failure in &report.failures {
        println!("    {failure:?}");
    }
    println!("  deploy           {} ms from the request to the cutover", receipt.deploy_ms);
    println!("  cutover          {} µs from the commit to the last acknowledgement", receipt.cutover_us);
    println!(
        "  rollback         {} ms at the command line, {} µs of it the cutover",
        receipt.rollback_ms, receipt.rollback_cutover_us
    );
    println!("  phases");
    for (phase, ms) in &receipt.phases_ms {
        println!("    {phase:<14} {ms} ms");
    }
    receipt
}

fn address() -> SocketAddr {
    let wanted = SocketAddr::from(([127, 0, 0, 1], PORT));
    match TcpListener::bind(wanted) {
        Ok(_) => wanted,
        Err(_) => SocketAddr::from(([127, 0, 0, 1], free_port())),
    }
}
