//! Credentials for registries, from Docker's own configuration file and its credential helpers
//! (<https://docs.docker.com/reference/cli/docker/login/#credential-stores>).

use base64::Engine;
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// How long a credential helper may take.
const HELPER_DEADLINE: Duration = Duration::from_secs(10);
/// The name under which Docker keeps the credentials of its own registry.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

#[derive(Deserialize, Default)]
#[serde(default)]
struct ConfigFile {
    auths: BTreeMap<String, Auth>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: String,
}

/// The credentials for `registry`, if there are any; the error says why they cannot be read.
pub(super) async fn of(registry: &str, folder: Option<&Path>) -> Result<Option<DockerCredentials>, String> {
    let Some(file) = config_file(folder) else { return Ok(None) };
    let Ok(text) = std::fs::read_to_string(&file) else { return Ok(None) };
    let config: ConfigFile =
        serde_json::from_str(&text).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    let server = if registry == "docker.io" { DOCKER_HUB } else { registry };
    if let Some(helper) = config.helpers.get(server).or(config.store.as_ref()) {
        let found = ask_helper(helper, server).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    let spellings =
        [server.to_owned(), format!("https://{server}"), format!("http://{server}"), format!("https://{server}/v1/")];
    Ok(spellings.iter().find_map(|spelling| config.auths.get(spelling)).and_then(|auth| credentials(auth, server)))
}

fn config_file(folder: Option<&Path>) -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let folder = folder.map(Path::to_owned).or_else(|| variable("DOCKER_CONFIG"));
    Some(folder.or_else(|| variable("HOME").map(|home| home.join(".docker")))?.join("config.json"))
}

fn credentials(auth: &Auth, server: &str) -> Option<DockerCredentials> {
    let decoded =
        auth.auth.as_ref().and_then(|text| base64::engine::general_purpose::STANDARD.decode(text.trim()).ok());
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_ref().and_then(|text| text.split_once(':'));
    let username = auth.username.clone().or_else(|| pair.map(|(name, _)| name.to_owned()))?;
    let password = auth.password.clone().or_else(|| pair.map(|(_, secret)| secret.trim_end_matches('\0').to_owned()));
    Some(DockerCredentials {
        username: Some(username),
        password,
        identitytoken: auth.identitytoken.clone(),
        serveraddress: Some(server.to_owned()),
        ..DockerCredentials::default()
    })
}

/// Asks `docker-credential-NAME`: the server goes to its standard input, the answer comes as JSON. No secret is ever an
/// argument.
async fn ask_helper(helper: &str, server: &str) -> Result<Option<DockerCredentials>, String> {
    if !helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(format!("{helper:?} is not a valid name of a credential helper"));
    }
    let program = format!("docker-credential-{helper}");
    let asked = tokio::time::timeout(HELPER_DEADLINE, run_helper(&program, server)).await;
    let output = asked.map_err(|_| format!("{program} did not answer within {} s", HELPER_DEADLINE.as_secs()))?;
    let output = output.map_err(|error| format!("{program} cannot be run: {error}"))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        // The message of every helper that has no credentials for a server.
        return if message.contains("credentials not found") {
            Ok(None)
        } else {
            Err(format!("{program} failed: {message}"))
        };
    }
    let helped: Helped =
        serde_json::from_slice(&output.stdout).map_err(|_| format!("{program} gave no credentials"))?;
    let mut found = DockerCredentials { serveraddress: Some(server.to_owned()), ..DockerCredentials::default() };
    // By convention this user name marks the secret as a token.
    if helped.username == "<token>" {
        found.identitytoken = Some(helped.secret);
    } else {
        found.username = Some(helped.username);
        found.password = Some(helped.secret);
    }
    Ok(Some(found))
}

async fn run_helper(program: &str, server: &str) -> std::io::Result<std::process::Output> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(server.as_bytes()).await?;
    }
    child.wait_with_output().await
}
