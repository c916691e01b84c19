//! A network namespace of a test's own: with loopback alone, whose ports the test can use up.

use crate::cluster::network::{enter, ip};

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
        let _ = std::process::Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}
