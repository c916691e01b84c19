//! The complete recipe that the project grew from, on a host booted by systemd: etcd, confd's resource and template,
//! nginx on port 80, and the colours as services on 9001 and 9002. See `docs/from-the-recipe.md`.

use gapless_harness::deps::SystemdHost;
use gapless_harness::{Outcome, wait_for};
use serde::Serialize;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);
/// The colours, with their ports.
const COLOURS: [(&str, &str); 2] = [("blue", "9001"), ("green", "9002")];

/// The result.
#[derive(Debug, Serialize)]
pub struct RecipeReport {
    /// Deployments that succeeded.
    pub deploys: u32,
    /// Differences between gapless and etcd, systemd, nginx's file or the page on port 80.
    pub disagreements: Vec<String>,
    /// Requests through nginx on port 80.
    pub requests: u64,
    /// Failed requests.
    pub failed: u64,
    /// Kept connections that nginx closed between requests, as it does at every reload.
    pub closed: u64,
}

/// Ten deployments of the recipe.
#[must_use]
pub fn scenario() -> Outcome {
    let report = walk(10);
    let figures = json!({
        "deploys": report.deploys,
        "disagreements": report.disagreements.len(),
        "failed": report.failed,
        "requests": report.requests,
        "closed": report.closed,
    });
    let lost = (report.failed > 0).then(|| format!("{} lost requests", report.failed));
    Outcome { figures, violations: report.disagreements.into_iter().chain(lost).collect() }
}

/// Deploys so often, under load through nginx, and compares everything after each deployment.
#[must_use]
pub fn walk(deploys: u32) -> RecipeReport {
    let host = SystemdHost::start("recipe");
    prepare(&host);
    host.gapless(&["deploy"]);
    wait_for("the page is served", DEADLINE, || host.get("/"));
    let mut walked =
        RecipeReport { deploys: 0, disagreements: disagreements(&host, 1), requests: 0, failed: 0, closed: 0 };
    let report = host.under_load("get-forgiving", || {
        for number in 1..=deploys {
            host.gapless(&["deploy", "--force"]);
            walked.deploys += 1;
            walked.disagreements.extend(disagreements(&host, number + 1));
        }
    });
    let count = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{name} in {report:#}"));
    (walked.requests, walked.failed, walked.closed) = (count("requests"), count("failed"), count("closed"));
    if walked.failed > 0 {
        eprintln!("{report:#}");
    }
    walked
}

/// Runs the commands of `docs/from-the-recipe.md`.
fn prepare(host: &SystemdHost) {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/from-the-recipe");
    copy(&files, &host.folder());
    host.ok(&["cp", "/opt/gapless/gapless", "/opt/gapless/bdd-assistant", "/usr/local/bin/"]);
    host.ok(&["mkdir", "-p", "/etc/gapless", "/var/lib/bdd-assistant"]);
    host.ok(&["cp", "/srv/server.toml", "/etc/gapless/"]);
    host.ok(&["cp", "-r", "/srv/confd", "/etc/"]);
    host.ok(&["cp", "/srv/confd.service", "/etc/systemd/system/"]);
    host.ok(&["rm", "-f", "/etc/nginx/sites-enabled/default"]);
    host.ok(&["systemctl", "daemon-reload"]);
    host.ok(&["systemctl", "enable", "--now", "etcd", "nginx", "confd"]);
    // gapless's own proxy stays out of nginx's way; tests of a release go through it.
    host.ok(&["gapless", "install", "--listen", "127.0.0.1:8080"]);
}

/// Everything that does not show this release as live in its colour.
fn disagreements(host: &SystemdHost, release: u32) -> Vec<String> {
    let live = usize::from(release.is_multiple_of(2));
    let ((colour, port), (other, other_port)) = (COLOURS[live], COLOURS[1 - live]);
    let mut found = Vec::new();
    let mut agree = |what: &str, said: &str, wanted: &str| {
        if said.trim() != wanted {
            found.push(format!("release {release}: {what} says {said:?} instead of {wanted:?}"));
        }
    };
    for (key, wanted) in [("port", port), ("instance", colour), ("release", &release.to_string())] {
        let key = format!("/bdd-assistant/{key}");
        agree(&key, &host.ok(&["etcdctl", "get", "--print-value-only", &key]), wanted);
    }
    let unit = format!("bdd-assistant-{colour}@{port}");
    agree(&unit, &host.run(&["systemctl", "is-active", &unit]).stdout, "active");
    agree(&unit, &host.run(&["systemctl", "is-enabled", &unit]).stdout, "enabled");
    let unit = format!("bdd-assistant-{other}@{other_port}");
    // The deployment has succeeded already; disabling follows from its record, like all actions.
    wait_for("the other colour is disabled at boot", DEADLINE, || {
        (host.run(&["systemctl", "is-enabled", "--quiet", &unit]).code != 0).then_some(())
    });
    let file = host.ok(&["cat", "/etc/nginx/sites-enabled/bdd-assistant.conf"]);
    let server = file.lines().find(|line| line.trim().starts_with("server 127")).unwrap_or_default();
    agree("nginx's file", server, &format!("server 127.0.0.1:{port};"));
    let page = host.get("/").unwrap_or_default();
    let said = page.lines().find(|line| line.to_ascii_lowercase().starts_with("x-release:")).unwrap_or_default();
    agree("the page on port 80", &said.to_ascii_lowercase(), &format!("x-release: {release}"));
    found
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("the example is there").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            std::fs::create_dir_all(&to).expect("the folder can be created");
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("a file can be copied");
        }
    }
}
