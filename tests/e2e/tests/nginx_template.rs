//! A user's own template for nginx: the example of the documentation, and invalid templates.

use gapless_harness::deps::Nginx;
use gapless_harness::{App, Gapless, Host, Load, Runtime, get, wait_for};
use std::fs;
use std::path::Path;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/nginx.tmpl");
    fs::read_to_string(path).unwrap()
}

/// A host whose nginx uses this template, which is in the host's folder.
fn host(nginx: &Nginx, template: &str) -> Host {
    let path = nginx.config_dir().with_file_name("own.tmpl");
    fs::write(&path, template).unwrap();
    Host::start_configured(&format!("{}template = \"{}\"\n", nginx.server_config(), path.display()))
}

fn app(name: &str) -> App {
    let deploy = "observe = \"1s\"\nshift_timeout = \"2s\"\n".to_owned();
    App { hosts: vec![format!("{name}.test")], deploy, ..App::new(name, Runtime::Process) }
}

fn written(host: &Host, app: &App) -> Gapless {
    host.gapless().within(&app.write(host.folder()))
}

/// A header of the answer, if its status is 200.
fn header(nginx: &Nginx, host: &str, name: &str) -> Option<String> {
    let (status, answer) = get(nginx.address(), "/", &format!("Host: {host}\r\n")).expect("nginx answers");
    let lines = answer.lines().map(str::to_ascii_lowercase);
    lines.filter_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned)).next().filter(|_| status == 200)
}

#[test]
fn documented_template_deploys_without_failed_request() {
    let nginx = Nginx::start();
    let host = host(&nginx, &example());
    let gapless = written(&host, &app("shop"));
    gapless.ok(["deploy"]);
    assert_eq!(header(&nginx, "shop.test", "x-served-by").as_deref(), Some("shop/production"));
    let load = Load::forgiving(nginx.address(), "shop.test", 200);
    let canary =
        "[strategy]\nkind = \"canary\"\nsteps = [{ weight = \"40%\", pause = \"1s\" }]\n[judge]\nfalse_alarms = 0\n";
    let tested = "[[gates]]\nname = \"smoke\"\n[[gates.requests]]\npath = \"/\"\n";
    for tables in ["", tested, canary] {
        written(&host, &App { tables: tables.to_owned(), ..app("shop") }).ok(["deploy", "--force"]);
    }
    let report = load.stop();
    assert_eq!(report.failed, 0, "of {} requests: {:#?}", report.requests, report.failures);
    assert_eq!(header(&nginx, "shop.test", "x-release").as_deref(), Some("4"));
    let wrong = get(nginx.address(), "/", "Host: shop.test\r\nx-gapless-preview: wrong\r\n");
    assert_eq!(wrong.map(|(status, _)| status), Some(404));
}

#[test]
fn failing_template_blocks_no_other_application() {
    let nginx = Nginx::start();
    let mut host = host(&nginx, &example());
    let (good, bad) = (written(&host, &app("good")), written(&host, &app("bad")));
    good.ok(["deploy"]);
    bad.ok(["deploy"]);
    let template = nginx.config_dir().with_file_name("own.tmpl");
    fs::write(&template, format!("{}{{{{ if eq .App \"bad\" }}}}\n{{{{ .Colour }}}}{{{{ end }}}}\n", example()))
        .unwrap();
    let doctor_reports = |host: &Host, parts: &[&str]| {
        wait_for(&format!("the doctor reports {parts:?}"), DEADLINE, || {
            let ran = host.gapless().run(["doctor"]);
            let said = format!("{}{}", ran.stdout, ran.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
            parts.iter().all(|part| said.contains(part)).then_some(())
        });
    };
    let ran = bad.run(["deploy", "--force"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    doctor_reports(&host, &["bad/production", "own.tmpl:", ".Colour"]);
    good.ok(["deploy", "--force"]);
    assert_eq!(header(&nginx, "good.test", "x-release").as_deref(), Some("2"));
    assert_eq!(header(&nginx, "bad.test", "x-release").as_deref(), Some("1"));
    // A new run of the server does not know the source of the file on disk, and leaves the file.
    host.kill_server();
    host.start_server();
    good.ok(["deploy", "--force"]);
    assert_eq!(header(&nginx, "good.test", "x-release").as_deref(), Some("3"));
    assert_eq!(header(&nginx, "bad.test", "x-release").as_deref(), Some("1"));
    // A text that nginx rejects is reported with the printed output.
    fs::write(&template, format!("{}{{{{ if eq .App \"bad\" }}}}\nnonsense on;{{{{ end }}}}\n", example())).unwrap();
    doctor_reports(
        &host,
        &["bad/production", "unknown directive \"nonsense\"", "(`nonsense on;`)", "own.tmpl printed"],
    );
    fs::write(&template, example()).unwrap();
    wait_for("a deployment succeeds again", DEADLINE, || (bad.run(["deploy", "--force"]).code == 0).then_some(()));
    let now = header(&nginx, "bad.test", "x-release").and_then(|release| release.parse::<u64>().ok());
    assert!(now > Some(1), "{now:?}");
}
