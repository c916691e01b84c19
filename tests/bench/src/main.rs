//! The benchmarks of deployments and of an idle server; `./scripts/bench deploy|idle` builds and runs them. The cost of
//! the proxy is measured by `scripts/bench.d/proxy.py`.

use bollard::Docker;
use clap::{Parser, ValueEnum};
use gapless_api::ApplicationView;
use gapless_core::Deployment;
use gapless_harness::deps::docker::engine_floor;
use gapless_harness::{App, Host, Runtime, wait_for};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Rounds, of which the median counts.
const ROUNDS: usize = 5;
/// Deployments in a round.
const DEPLOYS_PER_ROUND: usize = 4;
/// Applications of the idle server, and the time of the measurement.
const IDLE_APPLICATIONS: usize = 100;
const IDLE_WATCHED: Duration = Duration::from_secs(30);

#[derive(Parser)]
#[command(name = "bench")]
struct Args {
    what: What,
    /// The folder for the results
    #[arg(long, default_value = "docs/bench")]
    results: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    Deploy,
    Idle,
}

#[derive(Serialize)]
struct Results {
    conditions: serde_json::Value,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<String>,
}

fn main() {
    let args = Args::parse();
    let (name, rows) = match args.what {
        What::Deploy => ("deploy", deploy()),
        What::Idle => ("idle", idle()),
    };
    for row in &rows {
        let ratio = row.ratio.map(|ratio| format!("{ratio:>7.2} x {}", row.against.as_deref().unwrap_or_default()));
        println!("{:<64} {:>10.2} {:<8}{}", row.name, row.value, row.unit, ratio.unwrap_or_default());
    }
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let conditions = serde_json::json!({
        "cores": cores, "kernel": kernel.trim(), "rounds": ROUNDS, "load": "none besides",
        "statistic": "median over the rounds, which are interleaved",
    });
    let file = args.results.join(format!("{name}.json"));
    std::fs::create_dir_all(&args.results).expect("the folder can be made");
    let text = serde_json::to_string_pretty(&Results { conditions, rows }).expect("the results are JSON");
    std::fs::write(&file, text + "\n").expect("the results can be written");
    println!("wrote {}", file.display());
}

fn deploy() -> Vec<Row> {
    let host = Host::start();
    // Without a warm slot no old container is stopped while the next one starts.
    let app = |name: &str, keep_warm: &str| App {
        deploy: format!("observe = \"0s\"\nkeep_warm = \"{keep_warm}\"\npark = false\n"),
        hosts: vec![format!("{name}.example.com")],
        ..App::new(name, Runtime::Docker)
    };
    let cold = app("cold", "0s").write(host.folder());
    let warm = app("warm", "10m").write(host.folder());
    let (cold, data) = (host.gapless().within(&cold), cold.join("data"));
    let warm = host.gapless().within(&warm);
    for gapless in [&cold, &warm, &warm] {
        gapless.ok(["deploy", "--force"]);
    }
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio can be set up");
    let docker = Docker::connect_with_unix_defaults().expect("Docker answers");

    let (mut floors, mut deploys, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut rollbacks, mut cutovers_few) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let (mut floor, mut ours) = (Vec::new(), Vec::new());
        for turn in 0..DEPLOYS_PER_ROUND {
            floor.push(tokio.block_on(engine_floor(&docker, &format!("gapless-bench-{round}-{turn}"), &data)));
            cold.ok(["deploy", "--force"]);
            let latest = cold.latest();
            let cutover_at = latest.receipt.cutover_at.expect("the deployment has a cutover");
            cutovers_few.push(cutover_us(&latest));
            ours.push(cutover_at.since(latest.requested_at).0 as f64 + cutover_us(&latest) / 1000.0);
            wait_for("the old slot is gone", Duration::from_secs(30), || {
                let views: Vec<ApplicationView> = cold.json(["status", "--json"]);
                views.iter().any(|view| view.app.as_str() == "cold" && view.slots.len() == 1).then_some(())
            });
            let began = Instant::now();
            warm.ok(["rollback"]);
            rollbacks.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        let (floor, ours) = (median(floor), median(ours));
        ratios.push(ours / floor);
        floors.push(floor);
        deploys.push(ours);
    }
    let cutovers_many = cutovers_among_many(&host);
    let (few, many) = (median(cutovers_few), median(cutovers_many));
    vec![
        Row {
            name: "deploy of one container, image present, to its cutover".to_owned(),
            value: median(deploys),
            unit: "ms",
            ratio: Some(median(ratios)),
            against: Some(format!("create + start + first 200 by the Engine API ({:.0} ms)", median(floors))),
        },
        row("rollback to a slot that still runs, at the command line", median(rollbacks), "ms"),
        row("cutover with few routes, commit to acknowledgement on disk", few / 1000.0, "ms"),
        Row {
            name: "cutover with 1,000 routes, commit to acknowledgement on disk".to_owned(),
            value: many / 1000.0,
            unit: "ms",
            ratio: Some(many / few),
            against: Some("few routes".to_owned()),
        },
    ]
}

/// The cutovers of an application beside twenty applications with fifty hosts each.
fn cutovers_among_many(host: &Host) -> Vec<f64> {
    let gapless = host.gapless();
    for index in 0..20 {
        let hosts = (0..50).map(|n| format!("h{n}.many{index}.example.com")).collect();
        let deploy = "observe = \"0s\"\nkeep_warm = \"0s\"\n".to_owned();
        let app = App { hosts, deploy, ..App::new(&format!("many-{index}"), Runtime::Process) };
        gapless.within(&app.write(host.folder())).ok(["deploy", "--force"]);
    }
    let app = App {
        deploy: "observe = \"0s\"\n".to_owned(),
        hosts: vec!["one.example.com".to_owned()],
        ..App::new("one", Runtime::Process)
    };
    let gapless = gapless.within(&app.write(host.folder()));
    gapless.ok(["deploy", "--force"]);
    let mut cutovers = Vec::new();
    for _ in 0..ROUNDS * DEPLOYS_PER_ROUND {
        gapless.ok(["deploy", "--force"]);
        cutovers.push(cutover_us(&gapless.latest()));
    }
    cutovers
}

fn idle() -> Vec<Row> {
    let host = Host::start();
    let gapless = host.gapless();
    for index in 0..IDLE_APPLICATIONS {
        let name = format!("idle-{index}");
        let deploy = "observe = \"0s\"\nkeep_warm = \"0s\"\n".to_owned();
        let app = App { hosts: vec![format!("{name}.example.com")], deploy, ..App::new(&name, Runtime::Process) };
        gapless.within(&app.write(host.folder())).ok(["deploy", "--force"]);
    }
    let info = host.server_info();
    let server = info.pid;
    let proxy = info.planes[0].pid.expect("the proxy runs");
    let before = cpu_seconds(server);
    std::thread::sleep(IDLE_WATCHED);
    let cpu = (cpu_seconds(server) - before) / IDLE_WATCHED.as_secs_f64() * 100.0;
    vec![
        row(&format!("server idle with {IDLE_APPLICATIONS} applications, processor"), cpu, "% core"),
        row(&format!("server idle with {IDLE_APPLICATIONS} applications, memory (Pss)"), pss_mib(server), "MiB"),
        row(&format!("proxy idle with {IDLE_APPLICATIONS} applications, memory (Pss)"), pss_mib(proxy), "MiB"),
    ]
}

fn cutover_us(deployment: &Deployment) -> f64 {
    deployment.receipt.cutover_us.expect("the cutover was measured") as f64
}

fn row(name: &str, value: f64, unit: &'static str) -> Row {
    Row { name: name.to_owned(), value, unit, ratio: None, against: None }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// User and system time of a process (proc(5), fields 14 and 15 of `stat`, in hundredths of a second).
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

fn pss_mib(pid: u32) -> f64 {
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the process runs");
    let pss = smaps.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
    pss.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}
