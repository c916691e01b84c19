//! The caller of a request: a user of this host, another server, or the person for whom a server forwards.

/// The header in which a server that forwards a request says for whom.
pub const FORWARDED_BY: &str = "x-gapless-by";

/// Who is at the other end of the socket.
#[derive(Debug, Clone)]
pub enum Caller {
    /// A user of this host.
    User(Option<u32>),
    /// Another server, which has shown its certificate.
    Server,
    /// Whom another server forwards for.
    Named(String),
}

impl Caller {
    /// The name of the user, or the number where it has none.
    pub(crate) fn name(&self) -> String {
        match self {
            Caller::User(Some(uid)) => user_name(*uid).unwrap_or_else(|| format!("uid {uid}")),
            Caller::User(None) => "unknown".to_owned(),
            Caller::Server => "another server".to_owned(),
            Caller::Named(name) => name.clone(),
        }
    }

    /// Whether it is believed when it says for whom it asks: another server is, and this server's own user, who could
    /// do in its place whatever it does.
    pub(super) fn may_forward(&self) -> bool {
        match self {
            Caller::Server => true,
            Caller::User(Some(uid)) => *uid == 0 || *uid == rustix::process::geteuid().as_raw(),
            Caller::User(None) | Caller::Named(_) => false,
        }
    }
}

/// Read from the file: the name service would load libraries, which a static binary cannot.
fn user_name(uid: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}
