//! Hooks and migrations on the real components: at their points, once each, with requests on hold where configured; and
//! the page of an application under maintenance.

use gapless_core::Phase;
use gapless_core::deployment::{Cause, Outcome};
use gapless_harness::{App, CommandResult, Gapless, Host, Load, Runtime, get, image, wait_for};
use std::path::Path;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

fn said(ran: &CommandResult) -> String {
    format!("{}{}", ran.stdout, ran.stderr)
}

/// Deploys release 1, and configures `tables` for the next release.
fn second_release(host: &Host, runtime: Runtime, tables: &str) -> Gapless {
    let app = App::new("shop", runtime);
    let gapless = host.gapless().within(&app.write(host.folder()));
    gapless.ok(["deploy"]);
    App { tables: tables.to_owned(), ..app }.write(host.folder());
    gapless
}

/// A table whose command appends its name, and the release that answers then, to a file that everyone may write.
fn noting(table: &str, point: &str, name: &str, host: &Host, notes: &Path) -> String {
    let script = format!(
        "echo {name} $GAPLESS_RELEASE $(curl -s -o /dev/null -D - http://{}/up | tr -d '\\r' | sed -n 's/^x-release: //p') >> {}",
        host.address(),
        notes.display()
    );
    format!("[[{table}]]\nname = \"{name}\"\n{point}\ncommand = [\"/bin/sh\", \"-c\", {script:?}]\n")
}

fn notes() -> (tempfile::TempDir, std::path::PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let path = folder.path().join("notes");
    (folder, path)
}

#[test]
fn hooks_and_migrations_run_once_in_order() {
    let host = Host::start();
    let (_folder, path) = notes();
    let hook = |name: &str, at: &str| noting("hooks", &format!("at = \"{at}\""), name, &host, &path);
    let tables = [
        hook("start", "before-start"),
        hook("cut", "before-cutover"),
        hook("over", "after-cutover"),
        hook("done", "after-success"),
        hook("failed", "on-failure"),
        noting("migrate", "when = \"before\"", "schema", &host, &path),
        format!("[[migrate]]\nname = \"in-image\"\nwhen = \"after\"\nimage = \"{}\"\ncommand = [\"check\"]\n", image()),
    ];
    let gapless = second_release(&host, Runtime::Docker, &tables.concat());
    gapless.ok(["deploy"]);
    let noted = std::fs::read_to_string(&path).unwrap();
    assert_eq!(noted, "start 2 1\nschema 2 1\ncut 2 1\nover 2 2\ndone 2 2\n");
    let deployment = gapless.latest();
    let done: Vec<_> = deployment.hooks.iter().map(|hook| hook.name.as_str()).collect();
    assert_eq!(done, ["start", "schema", "cut", "over", "in-image", "done"]);
    assert!(deployment.hooks.iter().all(|hook| hook.result.as_ref().unwrap().passed), "{:?}", deployment.hooks);
    let shown = gapless.ok(["show", "2"]).stdout;
    assert!(shown.contains("hook schema (before-cutover) done in"), "{shown}");

    let past = gapless.run(["rollback"]);
    assert!(past.code == 1 && said(&past).contains("which nothing undoes: schema, in-image"), "{past:?}");
    gapless.ok(["rollback", "--force"]);
}

#[test]
fn rollback_undoes_migration_with_undo_command() {
    let host = Host::start();
    let (_folder, path) = notes();
    let table = noting("migrate", "when = \"before\"", "schema", &host, &path);
    let back = format!("back = [\"/bin/sh\", \"-c\", \"echo back >> {}\"]\n", path.display());
    let gapless = second_release(&host, Runtime::Process, &(table + &back));
    gapless.ok(["deploy"]);
    gapless.ok(["rollback"]);
    wait_for("the rollback ends", DEADLINE, || gapless.latest().phase.is_end().then_some(()));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "schema 2 1\nback\n");
}

#[test]
fn failed_hook_keeps_live_release_and_shows_last_lines() {
    let host = Host::start();
    let (_folder, path) = notes();
    let tables = "[[hooks]]\nname = \"broken\"\nat = \"before-cutover\"\ncommand = [\"sh\", \"-c\", \"echo no such table; exit 3\"]\n"
        .to_owned()
        + &noting("hooks", "at = \"on-failure\"", "report", &host, &path);
    let gapless = second_release(&host, Runtime::Process, &tables);
    let ran = gapless.run(["deploy"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    for words in ["hook broken (before-cutover) failed", "no such table", "release 1 is live in blue, as before"] {
        assert!(said(&ran).contains(words), "{words:?} is missing: {ran:?}");
    }
    let Phase::Ended(Outcome::Failed(reason)) = gapless.latest().phase else { panic!("not failed") };
    assert_eq!(reason.cause, Cause::Hook);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "report 2 1\n");
}

#[test]
fn migration_with_requests_on_hold_fails_none() {
    let host = Host::start();
    let tables = "[[migrate]]\nname = \"schema\"\nwhen = \"held\"\ncommand = [\"sleep\", \"2\"]\n";
    let gapless = second_release(&host, Runtime::Docker, tables);
    let load = Load::of_all_kinds(host.address(), 300);
    wait_for("the load runs", DEADLINE, || (load.requests() > 300).then_some(()));
    gapless.ok(["deploy"]);
    let report = load.stop();
    assert_eq!(report.failed, 0, "of {}: {:#?}", report.requests, report.failures);
    let receipt = gapless.latest().receipt;
    assert!(receipt.held > 300 && receipt.held_longest_us >= 1_900_000, "{receipt:?}");
    assert!(gapless.ok(["show", "2"]).stdout.contains("held             "));
}

#[test]
fn failed_held_migration_releases_requests_to_old_release() {
    let host = Host::start();
    let tables = "[[migrate]]\nname = \"schema\"\nwhen = \"held\"\ncommand = [\"sh\", \"-c\", \"sleep 1; exit 1\"]\n";
    let gapless = second_release(&host, Runtime::Process, tables);
    let load = Load::of_all_kinds(host.address(), 300);
    assert_eq!(gapless.run(["deploy"]).code, 1);
    let report = load.stop();
    assert_eq!(report.failed, 0, "of {}: {:#?}", report.requests, report.failures);
    assert!(!report.by_release.contains_key("2"), "{:?}", report.by_release);
}

#[test]
fn hook_is_not_rerun_after_server_kill() {
    let mut host = Host::start();
    let (_folder, path) = notes();
    let script = format!("echo started >> {}; sleep 5", path.display());
    let tables =
        format!("[[hooks]]\nname = \"once\"\nat = \"before-cutover\"\ncommand = [\"sh\", \"-c\", {script:?}]\n");
    let gapless = second_release(&host, Runtime::Process, &tables);
    gapless.ok(["deploy", "--detach"]);
    wait_for("the hook has started", DEADLINE, || path.exists().then_some(()));
    host.kill_server();
    host.start_server();
    let ran = gapless.run(["show", "2", "--follow"]);
    assert!(ran.code == 1 && said(&ran).contains("the hook is not started again"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "started\n");
}

#[test]
fn maintenance_shows_page_and_stops_nothing() {
    let host = Host::start();
    let gapless = second_release(&host, Runtime::Process, "");
    std::fs::write(host.folder().join("shop/soon.html"), "<h1>Back at noon</h1>").unwrap();
    assert_eq!(gapless.run(["maintenance", "off"]).code, 1);
    assert_eq!(gapless.run(["maintenance", "on", "--page", "nowhere.html"]).code, 2);
    gapless.ok(["maintenance", "on", "--page", "soon.html"]);
    let page = get(host.address(), "/", "").unwrap();
    assert_eq!(page.0, 503, "the page is shown when the command returns");
    assert!(page.1.contains("Back at noon") && page.1.to_lowercase().contains("retry-after"), "{}", page.1);
    assert_eq!(get(host.address(), "/up", "").unwrap().0, 200);
    assert!(gapless.ok(["status"]).stdout.contains("maintenance"));
    let twice = gapless.run(["maintenance", "on"]);
    assert!(twice.code == 1 && said(&twice).contains("is already on"), "{twice:?}");
    gapless.ok(["maintenance", "off"]);
    assert_eq!(get(host.address(), "/", "").unwrap().0, 200);
}
