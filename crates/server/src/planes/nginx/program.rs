//! nginx's own test of a configuration: of an application's files apart, and of everything.

use super::files::Files;
use super::settings::NginxConfig;
use super::syntax::{Word, block, line, render, set};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// How long a test may take: a thousand servers take 70 ms.
const TEST_DEADLINE: Duration = Duration::from_secs(10);
/// How much of what nginx says is told.
const TOLD_CHARS_MAX: usize = 600;
/// The most of a listing that is looked at, in bytes.
const LISTING_BYTES_MAX: usize = 64 << 20;

/// Tests an application's files for themselves: nothing of another application's, or of anybody else's, is there.
pub(super) async fn test_apart(settings: &NginxConfig, files: &Files) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| format!("no folder for a test: {error}"))?;
    let path = |name: &str| Word::Theirs(folder.path().join(name).display().to_string());
    let mut http = vec![
        set("access_log", "off"),
        set("client_body_temp_path", path("body")),
        set("proxy_temp_path", path("proxy")),
    ];
    for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".conf")) {
        std::fs::write(folder.path().join(name), text).map_err(|error| format!("no file for a test: {error}"))?;
        http.push(line(["include".into(), path(name)]));
    }
    let main = [
        set("pid", path("pid")),
        line(["error_log".into(), "stderr".into()]),
        block(["events".into()], Vec::new()),
        block(["http".into()], http),
    ];
    let main_path = folder.path().join("nginx.conf");
    std::fs::write(&main_path, render(&main)).map_err(|error| format!("no file for a test: {error}"))?;
    let shown = format!("{}/", folder.path().display());
    run(settings, &main_path, "-t").await.map(drop).map_err(|why| why.replace(&shown, ""))
}

/// Tests everything as nginx would read it now.
pub(super) async fn test_all(settings: &NginxConfig) -> Result<(), String> {
    run(settings, &settings.config, "-t").await.map(drop)
}

/// Whether nginx's configuration includes that file.
pub(super) async fn includes(settings: &NginxConfig, file: &Path) -> Result<bool, String> {
    let listing = run(settings, &settings.config, "-T").await?;
    let canonical = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let is_it = |line: &str| {
        let named = line.strip_prefix("# configuration file ").and_then(|rest| rest.strip_suffix(':'));
        named.is_some_and(|named| std::fs::canonicalize(named).is_ok_and(|named| named == canonical))
    };
    Ok(listing.lines().any(is_it))
}

async fn run(settings: &NginxConfig, config: &Path, what: &str) -> Result<String, String> {
    let program = settings.binary.display();
    let running = Command::new(&settings.binary)
        .arg(what)
        .arg("-q")
        .arg("-c")
        .arg(config)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(TEST_DEADLINE, running).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => {
            return Err(format!("{program} cannot be run: {error}; install nginx, or set `binary` in server.toml"));
        }
        Err(_) => return Err(format!("`{program} {what}` did not end within {} s", TEST_DEADLINE.as_secs())),
    };
    if output.status.success() {
        let listing = output.stdout.get(..LISTING_BYTES_MAX).unwrap_or(&output.stdout);
        return Ok(String::from_utf8_lossy(listing).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let errors: Vec<_> = said.lines().filter(|line| line.contains("[emerg]") || line.contains("[alert]")).collect();
    let said = if errors.is_empty() { said.into_owned() } else { errors.join("; ") };
    Err(said.trim().trim_start_matches("nginx: ").chars().take(TOLD_CHARS_MAX).collect())
}
