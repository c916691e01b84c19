//! A network namespace of a test's own: with loopback alone, whose ports the test can use up.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The namespace; gone when it is dropped. What runs in it is ended by who started it.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes it, and has this thread, and what it starts from now on, be in it.
    ///
    /// # Panics
    /// If that is not allowed here: it takes root.
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
        // What cannot be removed goes with the machine.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}

/// The file of a namespace, which `nsenter --net` takes.
#[must_use]
pub fn path(namespace: &str) -> PathBuf {
    Path::new("/run/netns").join(namespace)
}

/// Has this thread, and what it starts from now on, be in that namespace.
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
    assert!(output.status.success(), "{program} {}: {said} (it takes root)", arguments.join(" "));
}
