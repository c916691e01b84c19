//! Images for the tests, built by the Engine's API.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The name of an image with only the probe, built once per test run.
pub fn image() -> &'static str {
    static BUILT: OnceLock<()> = OnceLock::new();
    const TAG: &str = "gapless-probe:latest";
    BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let compiled = Command::new("rustc")
            .args(["--edition", "2024", "-O", "-Ctarget-feature=+crt-static", "-o"])
            .arg(folder.path().join("probe"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/probe.rs"))
            .status();
        assert!(compiled.unwrap().success());
        build(TAG, folder.path(), "FROM scratch\nCOPY probe /probe\nENTRYPOINT [\"/probe\"]\n");
    });
    TAG
}

/// Builds an image of that many incompressible bytes.
pub fn big_image(tag: &str, bytes: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut random = std::io::Read::take(std::fs::File::open("/dev/urandom").unwrap(), bytes);
    std::io::copy(&mut random, &mut std::fs::File::create(folder.path().join("ballast")).unwrap()).unwrap();
    build(tag, folder.path(), "FROM scratch\nCOPY ballast /ballast\nENTRYPOINT [\"/ballast\"]\n");
}

fn build(tag: &str, folder: &Path, dockerfile: &str) {
    std::fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
    let mut tar = Command::new("tar")
        .args(["--create", "--directory"])
        .args([folder, Path::new(".")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let archive = tar.stdout.take().unwrap().into();
    engine_api("POST", &format!("/build?t={tag}"), &["Content-Type: application/x-tar"], archive);
    assert!(tar.wait().unwrap().success());
}

/// Calls the Engine's API and returns the answer.
pub fn engine_api(method: &str, path: &str, headers: &[&str], body: Stdio) -> String {
    let mut command = Command::new("curl");
    command.args(["-sf", "-X", method, "--unix-socket", "/var/run/docker.sock", "--data-binary", "@-"]);
    for header in headers {
        command.args(["-H", header]);
    }
    let output = command.arg(format!("http://docker{path}")).stdin(body).output().unwrap();
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "the Docker Engine must run for these tests: ./scripts/test starts it");
    assert!(!answer.contains("\"error\""), "{method} {path}: {answer}");
    answer
}
