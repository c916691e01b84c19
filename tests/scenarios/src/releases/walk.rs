//! The whole path of a release: test, gates, approval, canary steps, observation, live; and the revert of a bad
//! release.

use gapless_core::Phase;
use gapless_harness::{App, Host, Load, Outcome, Runtime, wait_for};
use serde_json::json;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

const TABLES: &str = r#"
[environments.test]
hosts = ["test.shop"]

[[environments.test.gates]]
name = "answers"
[[environments.test.gates.requests]]
path = "/up"
contains = ["up"]

[[environments.test.gates]]
name = "stress"
[environments.test.gates.load]
rate = 100
duration = "2s"
requests = ["/up", "/api/stories"]
p99_max = "500ms"

[environments.production]
hosts = ["*"]
requires = ["test"]
approval = { people = 1 }
strategy = { by = "sticky", steps = [{ weight = "20%", pause = "3s" }, { weight = "50%", pause = "3s" }] }
"#;

/// Walks a good release, then a bad release, from test to production.
#[must_use]
pub fn scenario() -> Outcome {
    let host = Host::start();
    let app =
        App { tables: TABLES.to_owned(), deploy: "observe = \"5s\"\n".to_owned(), ..App::new("shop", Runtime::Docker) };
    let gapless = host.gapless().within(&app.write(host.folder()));
    let say = |command: &[&str]| {
        println!("$ gapless {}", command.join(" "));
        let ran = gapless.run(command);
        println!("{}{}", ran.stdout, ran.stderr);
        ran
    };
    let promote = ["promote", "--from", "test", "--to", "production"];
    let release = || {
        say(&["deploy", "--env", "test", "--force"]);
        let following = gapless.spawn(promote);
        wait_for("the promotion waits for an approval", DEADLINE, || {
            // At first the application does not exist there.
            gapless.latest_if_any().is_some_and(|latest| latest.phase == Phase::Approving).then_some(())
        });
        println!("$ gapless {}", promote.join(" "));
        say(&["approve"]);
        let output = following.wait_with_output().expect("the process exits");
        println!("{}", String::from_utf8_lossy(&output.stdout));
    };
    release();
    // A changed configuration is a new release; this one keeps its event streams open a little longer.
    app.misbehaving("hold").write(host.folder());
    let load = Load::idempotent(host.address(), 200);
    release();
    let walked = gapless.latest();
    let phases: Vec<_> = walked.passed.iter().map(|passed| passed.phase.clone()).collect();
    say(&["show", &walked.number.to_string()]);
    let failed = load.stop().failed;

    // The next release fails one request in five.
    app.misbehaving("errors-share=20").write(host.folder());
    let load = Load::idempotent(host.address(), 200);
    release();
    let reverted = gapless.latest();
    say(&["show", &reverted.number.to_string()]);
    let report = load.stop();
    let figures = json!({
        "phases": phases, "failed": failed, "ended": walked.phase.name(),
        "bad_release": {
            "ended": reverted.phase.name(), "requests": report.requests, "failed": report.failed,
            "canary": reverted.receipt.canary,
        },
    });
    let mut violations = Vec::new();
    if failed > 0 {
        violations.push(format!("{failed} lost requests while a good release went live"));
    }
    if walked.phase.name() != "succeeded" {
        violations.push(format!("the good release {}", walked.phase.name()));
    }
    if reverted.phase.name() != "reverted" {
        violations.push(format!("the bad release was not reverted: it {}", reverted.phase.name()));
    }
    Outcome { figures, violations }
}
