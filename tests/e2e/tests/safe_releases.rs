//! Checks between a release and its users: gates, approvals, and environments in which it must have succeeded.

use gapless_api::ApplicationView;
use gapless_core::deployment::{Cause, Outcome};
use gapless_core::{Deployment, Phase, Release};
use gapless_harness::programs::example_program;
use gapless_harness::{App, CommandResult, Gapless, Host, Runtime, get, image, wait_for};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

fn said(ran: &CommandResult) -> String {
    format!("{}{}", ran.stdout, ran.stderr)
}

/// A copy of the example's smoke test that everyone may run: gates run as nobody.
fn check() -> (tempfile::TempDir, PathBuf) {
    let everybody = std::fs::Permissions::from_mode(0o755);
    let folder = tempfile::Builder::new().permissions(everybody.clone()).tempdir().unwrap();
    let program = folder.path().join("bdd-assistant");
    std::fs::copy(example_program(), &program).unwrap();
    std::fs::set_permissions(&program, everybody).unwrap();
    (folder, program)
}

/// Deploys release 1, and configures `tables` for the next release.
fn second_release(host: &Host, runtime: Runtime, tables: &str) -> Gapless {
    let app = App::new("shop", runtime);
    let gapless = host.gapless().within(&app.write(host.folder()));
    gapless.ok(["deploy"]);
    App { tables: tables.to_owned(), ..app }.write(host.folder());
    gapless
}

fn release_of(host: &Host, headers: &str) -> String {
    let (_, answer) = get(host.address(), "/up", headers).unwrap();
    answer.lines().find_map(|line| line.strip_prefix("x-release: ")).unwrap_or("none").to_owned()
}

#[test]
fn gates_test_release_before_users_see_it() {
    let host = Host::start();
    let (_folder, program) = check();
    let tables = format!(
        r#"
        [[gates]]
        name = "smoke"
        command = ["{}", "check"]

        [[gates]]
        name = "contained"
        parallel = true
        image = "{}"
        command = ["check"]

        [[gates]]
        name = "answers"
        [[gates.requests]]
        path = "/up"
        contains = ["up"]
        expect_headers = {{ x-release = "2" }}
        within = "5s"
        [[gates.requests]]
        path = "/api/stories/99"
        status = 404
        json = {{ "/error" = "there is no such story" }}

        [[gates]]
        name = "stress"
        [gates.load]
        rate = 200
        duration = "2s"
        requests = ["/up", "GET /api/stories"]
        p99_max = "1s"
        throughput_min = 100
        "#,
        program.display(),
        image()
    );
    let gapless = second_release(&host, Runtime::Docker, &tables);
    let ran = gapless.ok(["deploy"]);
    assert!(ran.stdout.contains("answers | GET /up: as expected"), "{}", ran.stdout);
    assert!(ran.stdout.contains("testing"), "{}", ran.stdout);
    let deployment = gapless.latest();
    let names: Vec<_> = deployment.gates.iter().map(|gate| gate.name.as_str()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!(names[2..], ["answers", "stress"], "groups run in order");
    for tested in &deployment.gates[..2] {
        assert_eq!(tested.result.tests.map(|tests| (tests.run, tests.failed)), Some((3, 0)), "{tested:?}");
    }
    let latency = deployment.gates[3].result.latency.as_ref().unwrap();
    assert!((350..=400).contains(&latency.requests) && latency.failed == 0, "{latency:?}");
    let shown = gapless.ok(["show", "2"]).stdout;
    assert!(shown.contains("gate smoke passed") && shown.contains("3 tests, 0 failed"), "{shown}");
}

#[test]
fn failed_gate_ends_deployment_and_keeps_live_release() {
    let host = Host::start();
    let tables = "[[gates]]\nname = \"answers\"\nretries = 1\n[[gates.requests]]\npath = \"/up\"\nstatus = 204\n";
    let gapless = second_release(&host, Runtime::Process, tables);
    let ran = gapless.run(["deploy"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    for words in ["gate answers failed", "answered 200, expected 204", "release 1 is live in blue, as before"] {
        assert!(said(&ran).contains(words), "{words:?} is missing: {ran:?}");
    }
    let deployment = gapless.latest();
    assert_eq!(deployment.gates[0].attempts, 2);
    assert_eq!((release_of(&host, ""), deployment.receipt.cutover_at), ("1".to_owned(), None));
    wait_for("nothing of the release is left", DEADLINE, || {
        let view = gapless.json::<Vec<ApplicationView>, _>(["status", "--json"]).remove(0);
        (view.slots.len() == 1).then_some(())
    });
}

#[test]
fn gate_command_runs_as_nobody_and_ends_with_its_children() {
    let host = Host::start();
    let tables = "[[gates]]\nname = \"who\"\ncommand = [\"id\"]\n\
                  [[gates]]\nname = \"what\"\ncommand = [\"env\"]\n\
                  [[gates]]\nname = \"leaves-a-child\"\ncommand = [\"sh\", \"-c\", \"sleep 86399 & exit 0\"]\n\
                  [[gates]]\nname = \"endless\"\ncommand = [\"sleep\", \"86399\"]\ntimeout = \"2s\"\n";
    let gapless = second_release(&host, Runtime::Process, tables);
    let ran = gapless.run(["deploy"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(said(&ran).contains("gate endless failed: not finished within 2 s"), "{ran:?}");
    let deployment = gapless.latest();
    let (who, what) = (&deployment.gates[0].result.lines, &deployment.gates[1].result.lines);
    assert!(who[0].contains("(nobody)") && !who[0].contains("(root)"), "{who:?}");
    let names: Vec<_> = what.iter().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    assert!(names.iter().all(|name| name.starts_with("GAPLESS_") || ["PATH", "HOME"].contains(name)), "{names:?}");
    assert!(!names.contains(&"GAPLESS_SOCKET"), "{names:?}");
    let sleeps = std::process::Command::new("pgrep").args(["-f", "^sleep 86399$"]).output().unwrap();
    assert!(sleeps.stdout.is_empty(), "a child of the command must not survive");
}

#[test]
fn only_preview_token_reaches_release_awaiting_approval() {
    let host = Host::start();
    let gapless = second_release(&host, Runtime::Process, "[approval]\npeople = 1\nexpires = \"1h\"\n");
    let ran = gapless.run(["deploy", "--wait", "100ms"]);
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(said(&ran).contains("gapless approve 2"), "{ran:?}");
    let deployment = gapless.latest();
    let token = &deployment.preview_token;
    assert!(token.len() == 32, "{token}");
    assert_eq!(release_of(&host, ""), "1");
    assert_eq!(release_of(&host, &format!("X-Gapless-Preview: {token}\r\n")), "2");
    assert_eq!(release_of(&host, &format!("Cookie: a=b; gapless-preview={token}\r\n")), "2");
    // A wrong token never reaches the live release: a test would mistake it for the new release.
    let wrong = format!("X-Gapless-Preview: {}\r\n", "0".repeat(32));
    assert_eq!(get(host.address(), "/up", &wrong).unwrap().0, 404);

    assert!(gapless.ok(["approve"]).stdout.contains("the deployment continues"));
    wait_for("the release is live", DEADLINE, || (release_of(&host, "") == "2").then_some(()));
    let used = format!("X-Gapless-Preview: {token}\r\n");
    assert_eq!(get(host.address(), "/up", &used).unwrap().0, 404, "a token is valid until the cutover");
    assert_eq!(gapless.run(["approve", "2"]).code, 1, "too late");
}

#[test]
fn deployment_can_be_rejected_and_own_approval_is_excluded() {
    let host = Host::start();
    let gapless = second_release(&host, Runtime::Process, "[approval]\nby_others = true\n");
    assert_eq!(gapless.run(["approve"]).code, 1, "no deployment waits");
    assert_eq!(gapless.run(["deploy", "--wait", "0s"]).code, 7);
    let own = gapless.run(["approve"]);
    assert!(own.code == 1 && said(&own).contains("someone else must approve it"), "{own:?}");
    gapless.ok(["reject", "--reason", "not on a Friday"]);
    let ran = gapless.run(["show", "2", "--follow"]);
    assert!(ran.code == 7 && said(&ran).contains("refused the deployment: not on a Friday"), "{ran:?}");
    let Phase::Ended(Outcome::Failed(reason)) = gapless.latest().phase else { panic!("the deployment has not failed") };
    assert_eq!((reason.cause, release_of(&host, "")), (Cause::Rejected, "1".to_owned()));
}

#[test]
fn promotion_deploys_the_identical_artifact() {
    let host = Host::start();
    let tables = "[environments.test]\nhosts = [\"test.shop\"]\n[environments.test.env]\nCOLOUR = \"test\"\n\
                  [environments.production]\nhosts = [\"shop\"]\nrequires = [\"test\"]\n";
    let app = App { tables: tables.to_owned(), ..App::new("shop", Runtime::Docker) };
    let gapless = host.gapless().within(&app.write(host.folder()));
    let validated = gapless.ok(["validate"]).stdout;
    assert!(validated.contains("in test") && validated.contains("in production"), "{validated}");
    let promote = ["promote", "--from", "test", "--to", "production"];

    assert!(said(&gapless.run(promote)).contains("no application shop in the environment test"));
    let alone = gapless.run(["deploy", "--env", "production"]);
    assert!(alone.code == 1 && said(&alone).contains("takes only what has succeeded in test"), "{alone:?}");
    gapless.ok(["deploy", "--env", "test"]);
    gapless.ok(promote);
    let release = |env: &str| -> Release {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let key = format!("shop/{env}").parse().unwrap();
        tokio.block_on(gapless_api::Client::new(host.socket()).release(&key, 1)).unwrap()
    };
    let (test, production) = (release("test"), release("production"));
    assert_eq!(test.artifacts, production.artifacts);
    assert_eq!(
        production.promoted_from.as_ref().map(|origin| (origin.env.to_string(), origin.release)),
        Some(("test".into(), 1))
    );
    let has_colour = |release: &Release| release.spec.services["web"].variables.contains_key("COLOUR");
    assert!(has_colour(&test) && !has_colour(&production));
    assert_eq!(get(host.address(), "/up", "Host: shop\r\n").unwrap().0, 200);
    let nowhere = gapless.run(["deploy", "--env", "staging"]);
    assert!(nowhere.code == 2 && said(&nowhere).contains("there are production, test"), "{nowhere:?}");
}

#[test]
fn successful_deploy_is_promoted_automatically() {
    let mut host = Host::start();
    let tables = "[environments.test]\nhosts = [\"test.shop\"]\n\
                  [environments.staging]\nhosts = [\"staging.shop\"]\nrequires = [\"test\"]\npromote = \"auto\"\n\
                  [environments.production]\nhosts = [\"shop\"]\nrequires = [\"staging\"]\npromote = \"auto\"\n\
                  approval = { people = 1 }\n";
    let app = App { tables: tables.to_owned(), ..App::new("shop", Runtime::Process) };
    let gapless = host.gapless().within(&app.write(host.folder()));
    gapless.ok(["deploy", "--env", "test", "--detach"]);
    // Each promotion happens once, whenever the server dies.
    host.kill_server();
    host.start_server();
    let phase_of = |env: &str| {
        let ran = gapless.run(["history", "--json", "-e", env]);
        let history: Vec<Deployment> = serde_json::from_str(&ran.stdout).unwrap_or_default();
        assert!(history.len() <= 1, "{history:?}");
        history.first().map(|deployment| (deployment.phase.clone(), deployment.requested_by.clone()))
    };
    wait_for("the promotion waits in production", DEADLINE, || {
        phase_of("production").filter(|(phase, _)| *phase == Phase::Approving)
    });
    assert_eq!(phase_of("staging").unwrap().0.name(), "succeeded");
    assert!(phase_of("staging").unwrap().1.contains("promote = auto"));
    gapless.ok(["approve", "-e", "production"]);
    wait_for("the release is live", DEADLINE, || {
        phase_of("production").filter(|(phase, _)| phase.name() == "succeeded")
    });
}

#[test]
fn plan_shows_changes_without_secrets() {
    let host = Host::start();
    let app = App { top: "# 1\n".to_owned(), ..App::new("shop", Runtime::Process) };
    let gapless = host.gapless().within(&app.write(host.folder()));
    let first = gapless.run(["plan"]);
    assert!(first.code == 1 && first.stdout.contains("this would be the first release"), "{first:?}");
    gapless.ok(["deploy"]);
    let same = gapless.run(["plan"]);
    assert!(same.code == 0 && same.stdout.contains("nothing would be done"), "{same:?}");
    App { replicas: 2, ..app.misbehaving("hold") }.write(host.folder());
    let ran = gapless.run(["plan"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    for words in ["~ replicas 1 → 2", "+ variables.MISBEHAVE …", "start 2 instances", "the cutover", "by the last 1"]
    {
        assert!(ran.stdout.contains(words), "{words:?} is missing: {ran:?}");
    }
    assert!(!ran.stdout.contains("hold\n"), "{ran:?}");
    let json: serde_json::Value = serde_json::from_str(&gapless.run(["plan", "--json"]).stdout).unwrap();
    assert_eq!(json["is_unchanged"], false);
    assert_eq!(gapless.run(["plan", "--env", "Nowhere"]).code, 2);
    assert_eq!(gapless.run(["plan", "-c", "nothing.toml"]).code, 2);
}
