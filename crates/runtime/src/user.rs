//! Finds users in `/etc/passwd`: the name service would load libraries, which a static binary cannot.

use std::fs;

/// A user to run a process as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The home folder.
    pub home: String,
}

/// The user of that name.
#[must_use]
pub fn find(name: &str) -> Option<User> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let [found, _, uid, gid, _, home, ..] = fields.as_slice() else { return None };
        (*found == name).then_some(())?;
        Some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()?, home: (*home).to_owned() })
    })
}
