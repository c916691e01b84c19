//! confd's resources by the real binary: changed files are replaced atomically and reloaded, unchanged files cost
//! nothing, and a failure leaves everything as it was until its cause is gone.

use gapless_harness::Confd;
use gapless_harness::{CommandResult, wait_for};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

/// A confd folder with one resource over a file of keys.
fn confd(template: &str, more: &str) -> Confd {
    let confd = Confd::default();
    confd.write("keys.yaml", "port: 9001\n");
    confd.template("one", template);
    confd.resource("one", &["/port"], more);
    confd
}

fn once(confd: &Confd, more: &[&str]) -> CommandResult {
    let file = confd.path("keys.yaml").display().to_string();
    confd.render(&[&["-onetime", "-backend", "file", "-file", &file], more].concat())
}

fn assert_says(ran: &CommandResult, code: i32, words: &[&str]) {
    assert_eq!(ran.code, code, "{}", ran.stderr);
    for word in words {
        assert!(ran.stderr.contains(word), "{word:?} is missing in: {}", ran.stderr);
    }
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

/// The modification time of a folder, with the inode and time of each file: equal states mean that nothing was written.
fn state(folder: &Path) -> Vec<(u64, i64, i64)> {
    let of = |path: &Path| {
        let there = std::fs::metadata(path).unwrap();
        (there.ino(), there.mtime_nsec(), there.ctime_nsec())
    };
    let mut all: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| of(&entry.unwrap().path())).collect();
    all.sort_unstable();
    all.push(of(folder));
    all
}

#[test]
fn file_is_written_checked_and_reloaded_once() {
    let log = "echo check $(cat {{.src}}) >>log\"\nreload_cmd = \"echo reload >>log";
    let confd = confd("server {{getv \"/port\"}};", &format!("check_cmd = \"{log}\""));
    assert_says(&once(&confd, &[]), 0, &["has been updated"]);
    assert_eq!(confd.written("one").unwrap(), "server 9001;");
    let log = || std::fs::read_to_string(confd.path("log")).unwrap();
    assert_eq!(log(), "check server 9001;\nreload\n");
    assert_eq!(std::fs::metadata(confd.dest("one")).unwrap().mode() & 0o7777, 0o644);

    let before = state(&confd.path("out"));
    assert_says(&once(&confd, &[]), 0, &[]);
    assert_eq!(state(&confd.path("out")), before, "nothing must be written");
    assert_eq!(log(), "check server 9001;\nreload\n");

    confd.write("keys.yaml", "port: 9002\n");
    assert_says(&once(&confd, &[]), 0, &["has been updated"]);
    assert_eq!(confd.written("one").unwrap(), "server 9002;");
    assert_eq!(log(), "check server 9001;\nreload\ncheck server 9002;\nreload\n");
    assert_eq!(std::fs::read_dir(confd.path("out")).unwrap().count(), 1, "no staged file must remain");
}

#[test]
fn mode_and_owner_are_applied() {
    let confd = confd("x", "mode = \"0600\"");
    once(&confd, &[]);
    let mode = || std::fs::metadata(confd.dest("one")).unwrap().mode() & 0o7777;
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(confd.dest("one"), std::fs::Permissions::from_mode(0o666)).unwrap();
    assert_says(&once(&confd, &[]), 0, &["has been updated"]);
    assert_eq!(mode(), 0o600);

    // Without a mode, the mode of the existing file is kept.
    confd.resource("one", &["/port"], "owner = \"root\"\ngroup = \"0\"");
    std::fs::set_permissions(confd.dest("one"), std::fs::Permissions::from_mode(0o640)).unwrap();
    confd.template("one", "y");
    assert_says(&once(&confd, &[]), 0, &["has been updated"]);
    assert_eq!((mode(), confd.written("one").unwrap()), (0o640, "y".to_owned()));

    // As in confd, a number without a leading zero is decimal.
    confd.resource("one", &["/port"], "mode = \"420\"\nuid = -1");
    assert_says(&once(&confd, &[]), 0, &["is decimal, as in confd, so it means 0644"]);
    assert_eq!(mode(), 0o644);
    for (more, words) in [
        ("mode = \"rw\"", "mode = \"rw\" is not a number"),
        ("owner = \"nosuchuser\"", "\"nosuchuser\" is not in /etc/passwd"),
        ("uid = 99999999999", "not an id of a user"),
        ("mode = 644", "conf.d/one.toml: TOML parse error at line 5"),
        ("keys = 1", "conf.d/one.toml: TOML parse error"),
    ] {
        confd.resource("one", &["/port"], more);
        assert_says(&once(&confd, &[]), 1, &[words]);
    }
}

#[test]
fn failed_resource_keeps_file_and_reports_position() {
    let confd = confd("port {{getv \"/port\"}}", "");
    confd.template("two", "two {{getv \"/port\"}}");
    confd.resource("two", &["/port"], "");
    once(&confd, &[]);
    let templates = confd.path("templates").display().to_string();
    for (number, (template, more, words)) in [
        ("line\n{{getv \"/nope\"}}", "", "one.tmpl:2:3: in {{getv \"/nope\"}}: getv: key does not exist: /nope"),
        ("\n\n{{if}}{{end}}", "", "one.tmpl:3:5: in {{if}}: a value is missing for if"),
        ("{{range ls \"/\"}}", "", "one.tmpl:1:1: in {{range ls \"/\"}}: {{range}} is never closed"),
        ("{{nope}}", "", "one.tmpl:1:3: in {{nope}}: function \"nope\" is not defined"),
        (
            "new",
            "check_cmd = \"echo no >&2; exit 3\"",
            "check_cmd failed: `echo no >&2; exit 3` ended with exit status: 3:\nno",
        ),
        ("new", "check_cmd = \"test {{.nope\"", "check_cmd: check_cmd:1:6: in {{.nope: unclosed action"),
        ("new", "check_cmd = \"sleep 100\"", "did not end within 1s"),
    ]
    .into_iter()
    .enumerate()
    {
        let port = 9100 + number;
        confd.write("keys.yaml", &format!("port: {port}\n"));
        confd.template("one", template);
        confd.resource("one", &["/port"], more);
        assert_says(&once(&confd, &["-command-timeout", "1"]), 1, &[words]);
        assert_eq!(confd.written("one").unwrap(), "port 9001", "{template}");
        assert_eq!(confd.written("two").unwrap(), format!("two {port}"), "{template}");
        assert_eq!(std::fs::read_dir(confd.path("out")).unwrap().count(), 2, "no staged file must remain");
    }
    assert!(once(&confd, &["-command-timeout", "1"]).stderr.contains("is unchanged"));
    std::fs::remove_file(confd.path("templates/one.tmpl")).unwrap();
    assert_says(&once(&confd, &[]), 1, &[&format!("the template {templates}/one.tmpl cannot be read")]);
    // The cause is fixed.
    confd.template("one", "port {{getv \"/port\"}}");
    confd.resource("one", &["/port"], "");
    assert_says(&once(&confd, &[]), 0, &["has been updated"]);
    assert_eq!(confd.written("one").unwrap(), "port 9106");
}

#[test]
fn failed_reload_is_reported_and_new_file_stays() {
    let confd = confd("new", "reload_cmd = \"echo cannot; false\"");
    assert_says(&once(&confd, &[]), 1, &["was updated, but its reload_cmd failed", "cannot"]);
    assert_eq!(confd.written("one").unwrap(), "new");
}

#[test]
fn invalid_resource_affects_no_other_resource() {
    let confd = confd("one", "");
    for (name, text, words) in [
        ("bad", "[template\n", "conf.d/bad.toml: TOML parse error at line 1, column 10"),
        ("bad", "[template]\ndest = \"/x\"\n", "conf.d/bad.toml: src is missing"),
        ("bad", "[template]\nsrc = \"x\"\n", "conf.d/bad.toml: dest is missing"),
        ("bad", "", "conf.d/bad.toml: src is missing"),
    ] {
        let _ = std::fs::remove_file(confd.dest("one"));
        confd.write(&format!("conf.d/{name}.toml"), text);
        assert_says(&once(&confd, &[]), 1, &[words]);
        assert_eq!(confd.written("one").unwrap(), "one");
    }
}

#[test]
fn key_values_never_reach_a_shell() {
    let confd = confd("{{getv \"/port\"}}", "check_cmd = \"cat {{.src}}\"\nreload_cmd = \"true\"");
    confd.write("keys.yaml", "port: \"$(touch pwned) `touch pwned`; touch pwned {{.src}}\"\n");
    assert_says(&once(&confd, &[]), 0, &[]);
    assert!(confd.written("one").unwrap().starts_with("$(touch pwned)"));
    assert!(!confd.path("pwned").exists());
}

#[test]
fn noop_keep_stage_file_and_sync_only_match_confd() {
    let confd = confd("x", "check_cmd = \"false\"\nreload_cmd = \"false\"");
    assert_says(&once(&confd, &["-noop"]), 0, &["would be updated"]);
    assert_eq!(std::fs::read_dir(confd.path("out")).unwrap().count(), 0);
    assert_says(&once(&confd, &["-keep-stage-file"]), 1, &["keeping the staged file", "check_cmd failed"]);
    let kept: Vec<_> = std::fs::read_dir(confd.path("out")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].file_name().unwrap().to_str().unwrap().starts_with(".one"));
    assert_eq!(std::fs::read_to_string(&kept[0]).unwrap(), "x");
    assert_says(&once(&confd, &["--sync-only"]), 0, &["has been updated"]);
    assert_eq!(confd.written("one").unwrap(), "x");
}

#[test]
fn prefixes_match_confd() {
    let confd = Confd::default();
    confd.write("keys.yaml", "prod: {a: {b: 1}}\ntest: {a: {b: 2}}\n");
    confd.template("one", "{{range gets \"/a/*\"}}{{.Key}}={{.Value}}{{end}}{{ls \"/\"}}");
    confd.resource("one", &["/a"], "prefix = \"prod\"");
    once(&confd, &[]);
    assert_eq!(confd.written("one").unwrap(), "/a/b=1[a]");
    once(&confd, &["-prefix", "/test"]);
    assert_eq!(confd.written("one").unwrap(), "/a/b=2[a]");
    let file = confd.path("keys.yaml");
    confd.write(
        "confd.toml",
        &format!("backend = \"file\"\nfile = [{file:?}]\nprefix = \"/prod\"\nonetime = true\nunknown = 1\n"),
    );
    assert_says(&confd.render(&[]), 0, &["has been updated"]);
    assert_eq!(confd.written("one").unwrap(), "/a/b=1[a]");
    // A flag overrides the file.
    assert_says(&confd.render(&["--prefix=/test"]), 0, &["has been updated"]);
    assert_eq!(confd.written("one").unwrap(), "/a/b=2[a]");
    confd.write("confd.toml", "nodes = 1\n");
    assert_says(&confd.render(&[]), 1, &["confd.toml: TOML parse error at line 1, column 9"]);
}

#[test]
fn environment_and_file_folders_work_as_backends() {
    let confd = Confd::default();
    confd.template("one", "{{getv \"/nginx/worker/processes\"}}");
    confd.resource("one", &["/nginx"], "");
    let mut command = confd.gapless().command(confd.arguments(&["-onetime", "-backend", "env"]));
    assert!(command.env("NGINX_WORKER_PROCESSES", "4").status().unwrap().success());
    assert_eq!(confd.written("one").unwrap(), "4");

    std::fs::create_dir_all(confd.path("keys/deeper")).unwrap();
    confd.write("keys/deeper/a.yaml", "nginx: {worker: {processes: 8}}\n");
    confd.write("keys/ignored.txt", "- no map\n");
    let keys = confd.path("keys").display().to_string();
    let arguments = ["-onetime", "-backend", "file", "-file", &keys];
    assert_says(&confd.render(&[&arguments[..], &["-filter", "*.yaml"]].concat()), 0, &["has been updated"]);
    assert_eq!(confd.written("one").unwrap(), "8");
    assert_says(&confd.render(&arguments), 1, &["ignored.txt: line 1: the document must be a map"]);
    assert_says(&confd.render(&["-onetime", "-backend", "file"]), 1, &["set them with -file"]);
    assert_says(&confd.render(&["-onetime", "-backend", "file", "-file", "/no/such"]), 1, &["/no/such"]);
}

#[test]
fn unsupported_option_error_lists_supported_ones() {
    let confd = confd("x", "");
    let says = ["backend \"consul\" is not supported; use etcdv3", "env, file or gapless"];
    assert_says(&confd.render(&["-onetime", "-backend", "consul"]), 1, &says);
    assert_says(&confd.render(&["-onetime", "-client-insecure"]), 1, &["-client-ca-keys"]);
    assert_says(&confd.render(&["-onetime", "-client-cert", "x"]), 1, &["belong together"]);
    assert_says(&confd.render(&["-onetime", "-password", "x"]), 1, &["need -username"]);
    assert_says(&confd.render(&["-onetime", "-log-level", "loud"]), 2, &["not one of debug, info"]);
    assert_says(&confd.render(&["-onetime", "-backend", "gapless"]), 1, &["check that `gapless server` runs"]);
    assert_says(&confd.render(&["-onetime", "-secret-keyring", "/etc/passwd"]), 1, &["is not a secret keyring"]);
    assert_says(&confd.render(&["-nope"]), 2, &["unexpected argument '--nope'"]);
}

#[test]
fn watched_files_rerender_on_change_and_failures_recover() {
    let confd = confd("port {{getv \"/port\"}}", "");
    let file = confd.path("keys.yaml").display().to_string();
    let mut running = confd.spawn(&["-watch", "-backend", "file", "-file", &file]);
    running.wait_for_line("has been updated", DEADLINE);
    assert_eq!(confd.written("one").unwrap(), "port 9001");
    confd.write("keys.yaml", "port: 9002\n");
    running.wait_for_line("has been updated", DEADLINE);
    assert_eq!(confd.written("one").unwrap(), "port 9002");
    confd.write("keys.yaml", "pot: 9003\n");
    running.wait_for_line("key does not exist: /port", DEADLINE);
    assert_eq!(confd.written("one").unwrap(), "port 9002");
    // The template is fixed; no key changes.
    confd.template("one", "port {{getv \"/port\" \"none\"}}");
    running.wait_for_line("recovered", DEADLINE);
    assert_eq!(confd.written("one").unwrap(), "port none");
    assert_eq!(running.stop(), 0);
}

#[test]
fn failed_reload_is_retried_until_it_succeeds() {
    let confd = confd("x", "reload_cmd = \"test -e ready && touch reloaded\"");
    let file = confd.path("keys.yaml").display().to_string();
    let mut running = confd.spawn(&["-watch", "-backend", "file", "-file", &file]);
    running.wait_for_line("reload_cmd failed", DEADLINE);
    assert_eq!(confd.written("one").unwrap(), "x");
    confd.write("ready", "");
    running.wait_for_line("recovered", DEADLINE);
    assert!(confd.path("reloaded").exists());
}

#[test]
fn interval_mode_rereads_everything() {
    let confd = confd("port {{getv \"/port\"}}", "");
    let file = confd.path("keys.yaml").display().to_string();
    let mut running = confd.spawn(&["-interval", "1", "-backend", "file", "-file", &file]);
    running.wait_for_line("has been updated", DEADLINE);
    confd.template("two", "two");
    confd.resource("two", &["/port"], "");
    wait_for("an added resource is rendered", DEADLINE, || confd.written("two"));
    assert_eq!(running.stop(), 0);
}

#[test]
fn mounted_file_is_written_in_place() {
    let confd = confd("mounted {{getv \"/port\"}}", "mode = \"0640\"");
    std::fs::write(confd.dest("one"), "old and longer than what comes").unwrap();
    std::fs::write(confd.path("source"), "old").unwrap();
    let gapless = confd.gapless().command(confd.arguments(&["-onetime", "-backend", "file", "-file", "keys.yaml"]));
    let mut command = std::process::Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--mount", "sh", "-c", "mount --bind source out/one && exec \"$@\"", "sh"]);
    command.arg(gapless.get_program()).args(gapless.get_args()).current_dir(confd.path(""));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_to_string(confd.path("source")).unwrap(), "mounted 9001");
    assert_eq!(std::fs::metadata(confd.path("source")).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(std::fs::read_dir(confd.path("out")).unwrap().count(), 1, "no staged file must remain");
}

#[test]
fn unwritable_folder_is_reported() {
    let confd = confd("x", "");
    confd.write("conf.d/one.toml", "[template]\nsrc = \"one.tmpl\"\ndest = \"/proc/x\"\nkeys = [\"/\"]\n");
    assert_says(&once(&confd, &[]), 1, &["/proc/x cannot be written"]);
    confd.write("conf.d/one.toml", "[template]\nsrc = \"one.tmpl\"\ndest = \"/no/such/folder/x\"\nkeys = [\"/\"]\n");
    assert_says(&once(&confd, &[]), 1, &["/no/such/folder/x cannot be written"]);
    // conf.d may be a symbolic link, and may have subfolders.
    std::fs::rename(confd.path("conf.d"), confd.path("elsewhere")).unwrap();
    symlink(confd.path("elsewhere"), confd.path("conf.d")).unwrap();
    std::fs::create_dir(confd.path("conf.d/sub")).unwrap();
    confd.resource("one", &["/port"], "");
    std::fs::rename(confd.path("conf.d/one.toml"), confd.path("conf.d/sub/one.toml")).unwrap();
    assert_says(&once(&confd, &[]), 0, &["has been updated"]);
}
