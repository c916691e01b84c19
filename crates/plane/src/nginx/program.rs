//! nginx's own test of a configuration: of an application's files apart, and of everything.

use super::files::{Files, GAPLESS_FILE};
use super::place::Place;
use super::settings::NginxConfig;
use super::syntax::{Word, block, line, render, set};
use std::ffi::OsStr;
use std::path::Path;
use tempfile::TempDir;

/// How much of what nginx says is told.
const TOLD_CHARS_MAX: usize = 600;
/// The main configuration of a test.
const MAIN: &str = "nginx.main";
/// What the names of folders for tests begin with, where they are within gapless's own folder.
const TEST_PREFIX: &str = ".gapless-test-";

/// Tests an application's files for themselves: nothing of another application's, or of anybody else's, is there.
pub(super) async fn test_apart(place: &Place, settings: &NginxConfig, files: &Files) -> Result<(), String> {
    let folder = folder(settings).map_err(|error| format!("no folder for a test: {error}"))?;
    let seen = match (&settings.container, folder.path().file_name()) {
        (Some(container), Some(name)) => container.config_dir.join(name),
        _ => folder.path().to_owned(),
    };
    let path = |name: &str| Word::Theirs(seen.join(name).display().to_string());
    let mut http = vec![set("access_log", "off")];
    if settings.container.is_none() {
        // In a container the folder may be mounted for reading only, and nginx has its own ones.
        http.extend([set("client_body_temp_path", path("body")), set("proxy_temp_path", path("proxy"))]);
    }
    for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".conf")) {
        std::fs::write(folder.path().join(name), text).map_err(|error| format!("no file for a test: {error}"))?;
        http.push(line(["include".into(), path(name)]));
    }
    let main = [
        // Even a test opens it.
        set("pid", "/dev/null"),
        line(["error_log".into(), "stderr".into()]),
        block(["events".into()], Vec::new()),
        block(["http".into()], http),
    ];
    std::fs::write(folder.path().join(MAIN), render(&main)).map_err(|error| format!("no file for a test: {error}"))?;
    let shown = format!("{}/", seen.display());
    run(place, settings, &seen.join(MAIN), "-t").await.map(drop).map_err(|why| why.replace(&shown, ""))
}

/// Tests everything as nginx would read it now.
pub(super) async fn test_all(place: &Place, settings: &NginxConfig) -> Result<(), String> {
    run(place, settings, &settings.config, "-t").await.map(drop)
}

/// Whether nginx's configuration includes gapless's files.
pub(super) async fn includes(place: &Place, settings: &NginxConfig) -> Result<bool, String> {
    let listing = run(place, settings, &settings.config, "-T").await?;
    let file = settings.seen_dir().join(GAPLESS_FILE);
    let canonical = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let wanted = canonical(&file);
    let is_it = |line: &str| {
        let named = line.strip_prefix("# configuration file ").and_then(|rest| rest.strip_suffix(':'));
        named.map(Path::new).is_some_and(|named| match settings.container {
            // Links in there cannot be followed from here.
            Some(_) => named.file_name() == file.file_name(),
            None => canonical(named) == wanted,
        })
    };
    Ok(listing.lines().any(is_it))
}

/// What nginx's program prints, or what it does not take.
async fn run(place: &Place, settings: &NginxConfig, config: &Path, what: &str) -> Result<String, String> {
    let ran = place.run(settings, config, what).await?;
    if ran.is_good {
        return Ok(String::from_utf8_lossy(&ran.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    let errors: Vec<_> = said.lines().filter(|line| line.contains("[emerg]") || line.contains("[alert]")).collect();
    let said = if errors.is_empty() { said.into_owned() } else { errors.join("; ") };
    Err(said.trim().trim_start_matches("nginx: ").chars().take(TOLD_CHARS_MAX).collect())
}

/// A folder for a test, where nginx sees it: within gapless's own, if nginx runs in a container. `*.conf` does not
/// include what is in it.
fn folder(settings: &NginxConfig) -> std::io::Result<TempDir> {
    if settings.container.is_none() {
        return tempfile::tempdir();
    }
    let is_left = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(TEST_PREFIX));
    std::fs::create_dir_all(&settings.config_dir)?;
    for entry in std::fs::read_dir(&settings.config_dir)?.flatten().filter(|entry| is_left(&entry.file_name())) {
        // Of a server that was killed within a test: one test is made at a time.
        std::fs::remove_dir_all(entry.path())?;
    }
    tempfile::Builder::new().prefix(TEST_PREFIX).tempdir_in(&settings.config_dir)
}
