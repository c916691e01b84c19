//! The process runtime on real processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use gapless_core::spec::LogRotation;
use gapless_core::{AppKey, Artifacts, Millis};
use gapless_runtime::conformance::{Subject, exited, running, until};
use gapless_runtime::process::ProcessRuntime;
use gapless_runtime::{InstancePlan, InstanceState, LogQuery, Runtime};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use support::{example, key, plan, runtime, service};

const GRACE: Millis = Millis(3_000);

#[tokio::test]
async fn process_runtime_passes_conformance() {
    let folder = tempfile::tempdir().unwrap();
    Subject { make: || runtime(folder.path()), key: key(), service: service(&example("probe")) }.all().await;
}

/// Failure C10: process trees.
#[tokio::test]
async fn whole_process_tree_is_killed_with_the_main_process() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime(folder.path());
    let mut service = service(&example("probe"));
    service.variables.insert("FORK".into(), "1".into());
    let plan = plan(&runtime, service).await;
    let kept = folder.path().join("processes/releases");
    let count = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let programs = all.filter_map(|entry| std::fs::read_link(entry.path().join("exe")).ok());
        programs.filter(|program| program.starts_with(&kept)).count()
    };
    runtime.start(&plan).await.unwrap();
    running(&runtime, &plan.name).await;
    until("both run", async || (count() == 2).then_some(())).await;
    runtime.stop(&plan.name, GRACE).await.unwrap();
    assert_eq!(count(), 0);
}

#[tokio::test]
async fn release_runs_its_own_copy_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime(folder.path());
    let program = folder.path().join("app");
    std::fs::copy(example("probe"), &program).unwrap();
    let plan = plan(&runtime, service(&program)).await;
    std::fs::remove_file(&program).unwrap();
    std::fs::write(&program, "the next build").unwrap();
    runtime.start(&plan).await.unwrap();
    running(&runtime, &plan.name).await;
    runtime.stop(&plan.name, GRACE).await.unwrap();
}

/// Failure C7: logs.
#[tokio::test]
async fn log_files_stay_within_their_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime(folder.path());
    let mut service = service(&example("probe"));
    service.log = LogRotation { file_bytes: 4096, file_count: 3 };
    service.variables.insert("LINES".into(), "1000".into());
    let plan = plan(&runtime, service).await;
    runtime.start(&plan).await.unwrap();
    running(&runtime, &plan.name).await;
    let instance = folder.path().join("processes/instances").join(plan.name.to_string());
    let lines = until("the last line is there", async || {
        let lines = runtime.logs(&plan.name, LogQuery { tail: 10_000, follow: false }).await.unwrap();
        let lines: Vec<_> = futures_util::StreamExt::collect(lines).await;
        let lines: Vec<String> = lines.into_iter().map(|line| line.unwrap().text).collect();
        lines.last().is_some_and(|line| line.starts_with("line 999 ")).then_some(lines)
    })
    .await;
    assert!(lines.len() < 200, "{}", lines.len());
    let logs = std::fs::read_dir(&instance).unwrap().flatten();
    let sizes = logs.filter(|entry| entry.file_name().to_string_lossy().starts_with("log."));
    let sizes: Vec<_> = sizes.map(|entry| entry.metadata().unwrap().len()).collect();
    assert!(sizes.len() == 3 && sizes.iter().all(|size| *size <= 4096), "{sizes:?}");
    runtime.stop(&plan.name, GRACE).await.unwrap();
}

#[tokio::test]
async fn instance_gets_its_variables_and_none_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime(folder.path());
    let mut service = service(&example("probe"));
    service.variables = BTreeMap::from([("SHOW".into(), "1".into()), ("OWN".into(), "a b;$(id)".into())]);
    let plan = plan(&runtime, service).await;
    runtime.start(&plan).await.unwrap();
    let (address, _) = running(&runtime, &plan.name).await;
    let lines = until("the last line is there", async || {
        let lines = runtime.logs(&plan.name, LogQuery { tail: 100, follow: false }).await.unwrap();
        let lines: Vec<_> = futures_util::StreamExt::collect(lines).await;
        let lines: Vec<String> = lines.into_iter().map(|line| line.unwrap().text).collect();
        lines.last().is_some_and(|line| line.starts_with("directory=")).then_some(lines)
    })
    .await;
    let port = format!("PORT={}", address.port());
    for wanted in
        ["GAPLESS_APP=conformance", "GAPLESS_SLOT=green", "GAPLESS_RELEASE=1", "OWN=a b;$(id)", "directory=/", &port]
    {
        assert!(lines.iter().any(|line| line == wanted), "{wanted} is missing in {lines:?}");
    }
    assert!(!lines.iter().any(|line| line.starts_with("CARGO")), "the server's own environment leaks");
    runtime.stop(&plan.name, GRACE).await.unwrap();
}

#[tokio::test]
async fn missing_program_is_reported_before_any_start() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime(folder.path());
    let workload = service(Path::new("/no/such/program")).workload;
    let error = runtime.prepare(&workload, Arc::new(|_| {})).await.unwrap_err().to_string();
    assert!(error.contains("/no/such/program") && error.contains("no such file"), "{error}");
    let text = folder.path().join("text");
    std::fs::write(&text, "no program").unwrap();
    let workload = service(&text).workload;
    let error = runtime.prepare(&workload, Arc::new(|_| {})).await.unwrap_err().to_string();
    assert!(error.contains("chmod +x"), "{error}");
}

/// Starts an instance that ends by itself, and waits for its end.
async fn started_and_exited(runtime: &ProcessRuntime) -> InstancePlan {
    let mut service = service(&example("probe"));
    service.variables.insert("EXIT".into(), "1".into());
    let plan = plan(runtime, service).await;
    runtime.start(&plan).await.unwrap();
    exited(runtime, &plan.name).await;
    plan
}

#[tokio::test]
async fn reused_process_id_is_never_taken_for_the_instance() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime(folder.path());
    let plan = started_and_exited(&runtime).await;
    // As if this test's own process had got the id of the instance's process.
    let instance = folder.path().join("processes/instances").join(plan.name.to_string());
    let state: serde_json::Value =
        serde_json::from_slice(&std::fs::read(instance.join("state.json")).unwrap()).unwrap();
    let mut state = state;
    for process in ["main", "shim"] {
        state[process]["pid"] = std::process::id().into();
    }
    std::fs::write(instance.join("state.json"), state.to_string()).unwrap();
    std::fs::remove_file(instance.join("exit.json")).unwrap();
    let seen = runtime.list_all().await.unwrap();
    assert!(matches!(seen[0].state, InstanceState::Exited(_)), "{seen:?}");
    runtime.stop(&plan.name, GRACE).await.unwrap();
    assert_eq!(runtime.list_all().await.unwrap(), []);
}

#[tokio::test]
async fn folder_without_a_plan_is_listed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime(folder.path());
    let plan = plan(&runtime, service(&example("probe"))).await;
    runtime.start(&plan).await.unwrap();
    runtime.stop(&plan.name, GRACE).await.unwrap();
    let left = folder.path().join("processes/instances").join(plan.name.to_string());
    std::fs::create_dir(&left).unwrap();
    let listed = runtime.list(&key()).await.unwrap();
    assert!(matches!(listed.as_slice(), [one] if one.state == InstanceState::Created), "{listed:?}");
    runtime.stop(&plan.name, GRACE).await.unwrap();
    assert!(!left.exists());
}

#[tokio::test]
async fn unfinished_files_of_a_killed_shim_are_removed_by_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime(folder.path());
    let plan = started_and_exited(&runtime).await;
    let half_written = folder.path().join("processes/instances").join(plan.name.to_string()).join("exit.new");
    std::fs::write(&half_written, "{").unwrap();
    // The shim may have ended by now and recorded its own exit.
    runtime.start(&plan).await.unwrap();
    assert!(!half_written.exists() || std::fs::read(&half_written).unwrap() != b"{");
    runtime.stop(&plan.name, GRACE).await.unwrap();
}

#[tokio::test]
async fn concurrent_preparations_do_not_interfere() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Arc::new(runtime(folder.path()));
    let programs: Vec<_> = (0..4_u8)
        .map(|number| {
            let program = folder.path().join(format!("program-{number}"));
            std::fs::write(&program, vec![number; 8 << 20]).unwrap();
            let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&program, executable).unwrap();
            program
        })
        .collect();
    let preparing: Vec<_> = programs
        .iter()
        .map(|program| {
            let (runtime, workload) = (runtime.clone(), service(program).workload);
            tokio::spawn(async move { runtime.prepare(&workload, Arc::new(|_| {})).await })
        })
        .collect();
    let releases = folder.path().join("processes/releases");
    for (number, prepared) in preparing.into_iter().enumerate() {
        let artifact = prepared.await.unwrap().unwrap();
        let kept = releases.join(artifact.strip_prefix("sha256:").unwrap()).join(format!("program-{number}"));
        let bytes = std::fs::read(kept).unwrap();
        assert!(bytes.len() == 8 << 20 && bytes.iter().all(|byte| usize::from(*byte) == number), "program {number}");
    }
}

#[tokio::test]
async fn unfinished_copies_of_a_killed_server_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    drop(runtime(folder.path()));
    let mut ended = std::process::Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let releases = folder.path().join("processes/releases");
    let left = releases.join(format!("new-{}-0", ended.id()));
    std::fs::write(&left, "half").unwrap();
    // A copy in progress of another server on this host.
    let others = releases.join("new-1-0");
    std::fs::write(&others, "half").unwrap();
    drop(runtime(folder.path()));
    assert!(!left.exists() && others.exists());
}

#[tokio::test]
async fn unrecorded_process_of_a_killed_shim_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime(folder.path());
    let plan = plan(&runtime, service(&example("probe"))).await;
    for is_stopped in [true, false] {
        runtime.start(&plan).await.unwrap();
        let instance = folder.path().join("processes/instances").join(plan.name.to_string());
        let state: serde_json::Value =
            serde_json::from_slice(&std::fs::read(instance.join("state.json")).unwrap()).unwrap();
        let pid = |of: &str| i32::try_from(state[of]["pid"].as_i64().unwrap()).unwrap();
        let shim = rustix::process::Pid::from_raw(pid("shim")).unwrap();
        rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
        std::fs::remove_file(instance.join("state.json")).unwrap();
        let first = pid("main");
        match is_stopped {
            true => runtime.stop(&plan.name, GRACE).await.unwrap(),
            false => runtime.start(&plan).await.unwrap(),
        }
        let is_running = std::fs::read_to_string(format!("/proc/{first}/stat"))
            .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')));
        assert!(!is_running, "the first process still runs");
    }
    runtime.stop(&plan.name, GRACE).await.unwrap();
}

/// Failure A6, R-097.
#[tokio::test]
async fn unneeded_programs_are_removed_only_when_all_needs_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime(folder.path());
    let processes = folder.path().join("processes");
    let prepare = async |text: &str| {
        let program = folder.path().join("program");
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let artifact = runtime.prepare(&service(&program).workload, Arc::new(|_| {})).await.unwrap();
        let release = processes.join("releases").join(artifact.strip_prefix("sha256:").unwrap());
        // Older than the time that a deployment may take to record its need.
        let long_ago = SystemTime::now() - Duration::from_secs(2 * 3600);
        std::fs::File::open(&release).unwrap().set_modified(long_ago).unwrap();
        (Artifacts::only(artifact), release)
    };
    let (shop, blog): (AppKey, AppKey) = ("shop/production".parse().unwrap(), "blog/production".parse().unwrap());
    let (of_shop, shops) = prepare("the shop's").await;
    let (of_blog, blogs) = prepare("the blog's").await;
    let (_, nobodys) = prepare("nobody's").await;
    let blogs_kept = [(1, of_blog)].into();
    runtime.keep(&shop, &[(1, of_shop)].into()).await.unwrap();
    assert!(shops.exists() && !blogs.exists() && !nobodys.exists(), "only needed programs stay");
    prepare("the blog's").await;
    runtime.keep(&blog, &blogs_kept).await.unwrap();
    assert!(shops.exists() && blogs.exists());

    // The shop's list is truncated; beside it is a file that a crash left unfinished.
    std::fs::write(processes.join("kept/shop.production.json"), r#"{"1":{"web":"sha"#).unwrap();
    std::fs::write(processes.join("kept/blog.production.new"), "").unwrap();
    prepare("nobody's").await;
    runtime.keep(&blog, &blogs_kept).await.unwrap();
    assert!(shops.exists() && blogs.exists() && nobodys.exists());
    // The removal of an application drops its list, even if that is unreadable.
    runtime.keep(&shop, &BTreeMap::new()).await.unwrap();
    assert!(!shops.exists() && blogs.exists() && !nobodys.exists());
}

#[tokio::test]
async fn program_name_may_be_cut_within_a_character() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime(folder.path());
    // The kernel keeps fifteen bytes of the name (proc(5), `comm`); the last is the first half of a letter.
    let program = folder.path().join("ein-programme-ä");
    std::fs::copy(example("probe"), &program).unwrap();
    let plan = plan(&runtime, service(&program)).await;
    runtime.start(&plan).await.unwrap();
    running(&runtime, &plan.name).await;
    runtime.stop(&plan.name, GRACE).await.unwrap();
    assert_eq!(runtime.list(&key()).await.unwrap(), []);
}
