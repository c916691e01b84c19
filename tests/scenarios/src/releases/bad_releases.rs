//! Bad releases of every kind, one after another, under load: each deployment ends with the true reason, and users of
//! the live release hardly notice.

use gapless_core::deployment::{Cause, Outcome as End, Phase};
use gapless_core::{Deployment, ServiceName};
use gapless_harness::{App, Host, Load, Outcome, Runtime, wait_for};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const RATE_PER_S: u32 = 100;
const DEADLINE: Duration = Duration::from_secs(60);

/// A bad release, and the permitted outcomes of its deployment.
struct Bad {
    name: &'static str,
    misbehave: &'static str,
    /// Further tables of its configuration.
    tables: &'static str,
    /// Further lines at the top level of its configuration.
    top: &'static str,
    ends: &'static [Cause],
    /// Texts of which the reason must contain at least one.
    says: &'static [&'static str],
}

const HEALTH: &str = "[health]\ndeadline = \"3s\"\ninterval = \"200ms\"\n";
const MEMORY: &str = "[health]\ndeadline = \"3s\"\ninterval = \"200ms\"\n[resources]\nmemory = \"48m\"\n";

const fn bad(
    name: &'static str,
    misbehave: &'static str,
    ends: &'static [Cause],
    says: &'static [&'static str],
) -> Bad {
    Bad { name, misbehave, tables: HEALTH, top: "", ends, says }
}

const EXITED: &[Cause] = &[Cause::Exited, Cause::Unreachable];
const MEMORY_ENDS: &[Cause] = &[Cause::OutOfMemory, Cause::Unreachable];
const JUDGED: &[Cause] = &[Cause::Judged];

fn releases() -> Vec<Bad> {
    let unhealthy: &[Cause] = &[Cause::Unhealthy];
    let out_of_memory =
        |name, misbehave| Bad { tables: MEMORY, ..bad(name, misbehave, MEMORY_ENDS, &["memory", "could not be sent"]) };
    vec![
        bad("never listens", "never-listen", unhealthy, &["refused"]),
        bad("ends with 1 at once", "exit-at-start=1", &[Cause::Exited], &["exited with code 1"]),
        bad("ends with 0 at once", "exit-at-start=0", &[Cause::Exited], &["exited with code 0"]),
        bad("ends with 137 at once", "exit-at-start=137", &[Cause::Exited], &["exited with code 137"]),
        bad("is never healthy", "never-healthy", unhealthy, &["answered 500"]),
        bad("sends health checks to https", "redirect-up", unhealthy, &["301"]),
        bad("listens elsewhere", "port=8081", unhealthy, &["8081"]),
        bad("starts too slowly", "start-slow=60", unhealthy, &["refused"]),
        Bad {
            name: "has a missing image",
            misbehave: "",
            tables: HEALTH,
            top: "image = \"localhost:1/nowhere:1\"\n",
            ends: &[Cause::Prepare],
            says: &["localhost:1"],
        },
        Bad {
            name: "has a missing program",
            misbehave: "",
            tables: HEALTH,
            top: "entrypoint = [\"/nowhere\"]\n",
            ends: &[Cause::Start],
            says: &["/nowhere"],
        },
        Bad {
            name: "fails its gate",
            misbehave: "errors",
            tables: "[[gates]]\nname = \"answers\"\n[[gates.requests]]\npath = \"/\"\n",
            top: "",
            ends: &[Cause::Gate],
            says: &["gate answers failed"],
        },
        bad("ends as soon as it is healthy", "exit-after=0:3", EXITED, &["code 3", "could not be sent"]),
        bad("ends after 1 s", "exit-after=1:3", EXITED, &["code 3", "could not be sent"]),
        bad("ends after 2 s with 0", "exit-after=2:0", EXITED, &["code 0", "could not be sent"]),
        bad("ends after 3 s with 137", "exit-after=3:137", EXITED, &["code 137", "could not be sent"]),
        bad("ends after 5 s", "exit-after=5:1", EXITED, &["code 1", "could not be sent"]),
        out_of_memory("takes all memory at once", "oom-after=0"),
        out_of_memory("takes all memory after 2 s", "oom-after=2"),
        out_of_memory("takes all memory after 4 s", "oom-after=4"),
        out_of_memory("leaks 20 MB a second", "leak=20"),
        bad("answers 500", "errors", JUDGED, &["requests failed"]),
        bad("answers 500 after 1 s", "errors-after=1", JUDGED, &["requests failed"]),
        bad("answers 500 after 3 s", "errors-after=3", JUDGED, &["requests failed"]),
        bad("answers 500 after 6 s", "errors-after=6", JUDGED, &["requests failed"]),
        bad("answers 500 half of the time", "errors-share=50", JUDGED, &["requests failed"]),
        bad("answers 500 one time in five", "errors-share=20", JUDGED, &["requests failed"]),
        Bad {
            tables: "[health]\ninterval = \"200ms\"\n[judge]\np95_max = \"200ms\"\n",
            ..bad("is slow", "slow=400", JUDGED, &["its p95 is"])
        },
        Bad {
            tables: "[health]\ninterval = \"200ms\"\n[proxy]\nresponse_timeout = \"500ms\"\n",
            ..bad("answers only its health check", "hang", JUDGED, &["requests failed"])
        },
        bad("becomes unhealthy", "unhealthy-after=2", unhealthy, &["health checks in a row"]),
        bad("flaps", "flap=2", unhealthy, &["health checks in a row"]),
        Bad {
            tables: "[strategy]\nsteps = [{ weight = \"20%\", pause = \"1m\" }]\n",
            ..bad("fails in its canary", "errors-share=50", JUDGED, &["on the old release, 0 of"])
        },
        Bad {
            tables: "[strategy]\nsteps = [{ weight = \"20%\", pause = \"1m\" }]\n[resources]\nmemory = \"48m\"\n",
            ..bad("takes all memory in its canary", "oom-after=2", MEMORY_ENDS, &["memory", "could not be sent"])
        },
    ]
}

/// Deploys a bad release of every kind, one after another, under load.
#[must_use]
pub fn scenario() -> Outcome {
    let host = Host::start();
    let app = App { deploy: "observe = \"12s\"\nkeep_warm = \"0s\"\n".to_owned(), ..App::new("shop", Runtime::Docker) };
    let folder = app.write(host.folder());
    let gapless = host.gapless().within(&folder);
    gapless.ok(["deploy"]);
    let live = gapless.latest().release;
    let deaths = Deaths::watch();
    let load = Load::idempotent(host.address(), RATE_PER_S);
    wait_for("the load runs", DEADLINE, || (load.requests() > 200).then_some(()));
    let mut violations = Vec::new();
    let (mut wrong, mut before_cutover, mut after_exit) = (0, 0, 0);
    let (mut on_errors, mut revert_ms_max) = (0, 0);
    let all = releases();
    println!("{:<42} {:<10} {:>7} {:>9}  reason", "release", "ended", "failed", "back in");
    for release in &all {
        let next = App { tables: release.tables.to_owned(), ..app.misbehaving(release.misbehave) };
        let mut text = next.config(&folder);
        if release.top.starts_with("image") {
            text = text.lines().filter(|line| !line.starts_with("image")).collect::<Vec<_>>().join("\n");
        }
        std::fs::write(folder.join("gapless.toml"), format!("{}{text}", release.top)).expect("the file can be written");
        let failed = load.snapshot().failed;
        let before = gapless.latest().number;
        let ran = gapless.run(["deploy", "--force"]);
        let deployment = gapless.latest();
        assert!(deployment.number > before, "{} was not deployed: {}{}", release.name, ran.stdout, ran.stderr);
        // Requests in flight still have to finish.
        std::thread::sleep(Duration::from_millis(500));
        let failed = load.snapshot().failed - failed;
        let (cause, message) = reason(&deployment);
        let is_right = cause.is_some_and(|cause| release.ends.contains(&cause))
            && release.says.iter().any(|words| message.contains(words));
        if !is_right {
            wrong += 1;
            violations.push(format!(
                "{}: ended as {} with the wrong reason: {message}",
                release.name,
                deployment.phase.name()
            ));
        }
        let revert_ms = deaths.until_revert(&deployment);
        revert_ms_max = revert_ms_max.max(revert_ms.unwrap_or(0));
        match (&deployment.phase, cause) {
            (Phase::Ended(End::Failed(_)), _) => {
                before_cutover += failed;
                if failed > 0 {
                    violations.push(format!("{}: {failed} requests were lost before a cutover", release.name));
                }
            }
            (_, Some(Cause::Judged | Cause::Unhealthy)) => on_errors += failed,
            _ => after_exit += failed,
        }
        let back = revert_ms.map_or("–".to_owned(), |ms| format!("{ms} ms"));
        let first = message.lines().next().unwrap_or_default();
        let mark = if is_right { ' ' } else { '!' };
        println!("{:<42} {:<10} {failed:>7} {back:>9} {mark}{first}", release.name, deployment.phase.name());
    }
    let report = load.stop();
    assert!(report.by_release.contains_key(&live.to_string()));
    let figures = json!({
        "releases": all.len(),
        "wrong_ends": wrong,
        "failed_before_cutover": before_cutover,
        "failed_after_exit": after_exit,
        "revert_ms_max": revert_ms_max,
        "failed_on_errors": on_errors,
        "requests": report.requests,
    });
    Outcome { figures, violations }
}

fn reason(deployment: &Deployment) -> (Option<Cause>, String) {
    match &deployment.phase {
        Phase::Ended(End::Failed(reason) | End::Reverted(reason)) => (Some(reason.cause), reason.message.clone()),
        phase => (None, format!("it is {}", phase.name())),
    }
}

/// The times of container deaths according to the Engine.
struct Deaths {
    seen: Arc<Mutex<BTreeMap<String, u64>>>,
    events: Child,
}

impl Deaths {
    fn watch() -> Deaths {
        let format = "{{.TimeNano}} {{.Actor.Attributes.name}}";
        let mut events = Command::new("docker")
            .args(["events", "--filter", "event=die", "--format", format])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the docker command is there");
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let (lines, noting) = (BufReader::new(events.stdout.take().expect("stdout is piped")), seen.clone());
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if let Some((nanos, name)) = line.split_once(' ') {
                    let at_ms = nanos.parse::<u64>().unwrap_or(0) / 1_000_000;
                    noting.lock().expect("no thread panicked with the lock").entry(name.to_owned()).or_insert(at_ms);
                }
            }
        });
        Deaths { seen, events }
    }

    /// From the death of the deployment's first instance to the commit of the revert, in milliseconds.
    fn until_revert(&self, deployment: &Deployment) -> Option<u64> {
        let reverting = deployment.passed.iter().find(|passed| passed.phase == "reverting")?.since;
        let name = deployment.placement()?.instance(&ServiceName::default(), 1).to_string();
        let died_ms = *self.seen.lock().expect("no thread panicked with the lock").get(&name)?;
        // An instance that is stopped after the revert dies, too.
        (died_ms <= reverting.0).then(|| reverting.0 - died_ms)
    }
}

impl Drop for Deaths {
    fn drop(&mut self) {
        let _ = self.events.kill();
        let _ = self.events.wait();
    }
}
