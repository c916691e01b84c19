//! The caller of a request: a user of this host, another server, or the person for whom another server forwards.

use axum::extract::ConnectInfo;
use axum::http::Extensions;

/// The header in which a forwarding server names the person who sent the request.
pub const FORWARDED_BY: &str = "x-gapless-by";

/// The sender of a request.
#[derive(Debug, Clone)]
pub enum Caller {
    /// A user of this host.
    User(Option<u32>),
    /// Another server, which has shown its certificate.
    Server,
    /// The person for whom another server forwards.
    Named(String),
}

impl Caller {
    /// The name of the sender of a request with these extensions; `unknown` if no listener recorded the sender.
    pub(crate) fn name_in(extensions: &Extensions) -> String {
        extensions.get::<ConnectInfo<Caller>>().map_or(&Caller::User(None), |ConnectInfo(caller)| caller).name()
    }

    /// The user's name, or the uid if it has no name.
    pub(crate) fn name(&self) -> String {
        match self {
            Caller::User(Some(uid)) => user_name(*uid).unwrap_or_else(|| format!("uid {uid}")),
            Caller::User(None) => "unknown".to_owned(),
            Caller::Server => "another server".to_owned(),
            Caller::Named(name) => name.clone(),
        }
    }

    /// True if the caller may name another person as the sender: another server, root, and this server's own user, who
    /// can do everything that the server can.
    pub(super) fn may_forward(&self) -> bool {
        match self {
            Caller::Server => true,
            Caller::User(Some(uid)) => *uid == 0 || *uid == rustix::process::geteuid().as_raw(),
            Caller::User(None) | Caller::Named(_) => false,
        }
    }
}

/// Reads the name from /etc/passwd: the name service would load libraries, which a static binary cannot.
fn user_name(uid: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}
