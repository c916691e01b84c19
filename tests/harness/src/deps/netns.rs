//! Network namespaces, such as one with loopback alone, whose ports a test can use up.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A network namespace, removed when this is dropped. Processes in it are not ended.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Creates a namespace and moves this thread, with all later children, into it.
    ///
    /// # Panics
    /// If this process is not root.
    #[must_use]
    pub fn entered(name: &str) -> Self {
        let namespace = Namespace { name: format!("gapless-test-{name}-{}", std::process::id()) };
        ip(&["netns", "add", &namespace.name]);
        ip(&["-n", &namespace.name, "link", "set", "lo", "up"]);
        enter(&namespace.name);
        namespace
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A namespace that cannot be removed stays until the next reboot.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}

/// The file of a namespace, which `nsenter --net` takes.
#[must_use]
pub fn path(namespace: &str) -> PathBuf {
    Path::new("/run/netns").join(namespace)
}

/// Moves this thread, with all later children, into a namespace.
pub fn enter(namespace: &str) {
    let namespace = File::open(path(namespace)).expect("the namespace is there");
    let kind = rustix::thread::LinkNameSpaceType::Network;
    let entered = rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(kind));
    entered.expect("this thread may enter a namespace");
}

/// Runs `ip`, which must succeed.
pub fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("ip can be run: install iproute2");
    check("ip", arguments, &output);
}

/// Fails the test where a program that needs root has failed.
///
/// # Panics
/// If the program exited with an error.
pub fn check(program: &str, arguments: &[&str], output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said} (needs root)", arguments.join(" "));
}
