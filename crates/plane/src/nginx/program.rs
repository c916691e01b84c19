//! nginx's own test of a configuration: of one application's files alone, and of all files.

use super::files::{Files, GAPLESS_FILE};
use super::location::Location;
use super::settings::NginxConfig;
use super::syntax::{Word, block, line, render, set};
use std::ffi::OsStr;
use std::path::Path;
use tempfile::TempDir;

/// The maximum length of a message of nginx that is shown, in characters.
const MESSAGE_CHARS_MAX: usize = 600;
/// The name of the main configuration of a test.
const MAIN: &str = "nginx.main";
/// The prefix of the names of folders for tests inside gapless's own folder.
const TEST_PREFIX: &str = ".gapless-test-";

/// Tests an application's files alone, without any other file of nginx's configuration.
pub(super) async fn test_alone(location: &Location, settings: &NginxConfig, files: &Files) -> Result<(), String> {
    let folder = folder(settings).map_err(|error| format!("cannot create a folder for the test: {error}"))?;
    let seen = match (&settings.container, folder.path().file_name()) {
        (Some(container), Some(name)) => container.config_dir.join(name),
        _ => folder.path().to_owned(),
    };
    let path = |name: &str| Word::Untrusted(seen.join(name).display().to_string());
    let mut http = vec![set("access_log", "off")];
    if settings.container.is_none() {
        // In a container, the folder may be mounted read-only, and nginx has its own folders.
        http.extend([set("client_body_temp_path", path("body")), set("proxy_temp_path", path("proxy"))]);
    }
    for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".conf")) {
        let written = std::fs::write(folder.path().join(name), text);
        written.map_err(|error| format!("cannot write a file for the test: {error}"))?;
        http.push(line(["include".into(), path(name)]));
    }
    let main = [
        // nginx opens the file even for a test.
        set("pid", "/dev/null"),
        line(["error_log".into(), "stderr".into()]),
        block(["events".into()], Vec::new()),
        block(["http".into()], http),
    ];
    std::fs::write(folder.path().join(MAIN), render(&main))
        .map_err(|error| format!("cannot write a file for the test: {error}"))?;
    let shown = format!("{}/", seen.display());
    run(location, settings, &seen.join(MAIN), "-t").await.map(drop).map_err(|why| why.replace(&shown, ""))
}

/// Tests the whole configuration, as nginx would read it now.
pub(super) async fn test_all(location: &Location, settings: &NginxConfig) -> Result<(), String> {
    run(location, settings, &settings.config, "-t").await.map(drop)
}

/// True if nginx's configuration includes gapless's files.
pub(super) async fn includes(location: &Location, settings: &NginxConfig) -> Result<bool, String> {
    let listing = run(location, settings, &settings.config, "-T").await?;
    let file = settings.seen_dir().join(GAPLESS_FILE);
    let canonical = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let wanted = canonical(&file);
    let is_it = |line: &str| {
        let named = line.strip_prefix("# configuration file ").and_then(|rest| rest.strip_suffix(':'));
        named.map(Path::new).is_some_and(|named| match settings.container {
            // Links inside a container cannot be followed from the host.
            Some(_) => named.file_name() == file.file_name(),
            None => canonical(named) == wanted,
        })
    };
    Ok(listing.lines().any(is_it))
}

/// Runs nginx's program. Returns its output, or its errors as a message.
async fn run(location: &Location, settings: &NginxConfig, config: &Path, option: &str) -> Result<String, String> {
    let ran = location.run(settings, config, option).await?;
    if ran.is_success {
        return Ok(String::from_utf8_lossy(&ran.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    let errors: Vec<_> = said.lines().filter(|line| line.contains("[emerg]") || line.contains("[alert]")).collect();
    let said = if errors.is_empty() { said.into_owned() } else { errors.join("; ") };
    Err(said.trim().trim_start_matches("nginx: ").chars().take(MESSAGE_CHARS_MAX).collect())
}

/// Creates a folder for a test where nginx can read it: inside gapless's own folder if nginx runs in a container. The
/// included `*.conf` does not match files in a subfolder.
fn folder(settings: &NginxConfig) -> std::io::Result<TempDir> {
    if settings.container.is_none() {
        return tempfile::tempdir();
    }
    let is_left = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(TEST_PREFIX));
    std::fs::create_dir_all(&settings.config_dir)?;
    for entry in std::fs::read_dir(&settings.config_dir)?.flatten().filter(|entry| is_left(&entry.file_name())) {
        // Left behind by a server that was killed during a test: only one test runs at a time.
        std::fs::remove_dir_all(entry.path())?;
    }
    tempfile::Builder::new().prefix(TEST_PREFIX).tempdir_in(&settings.config_dir)
}
