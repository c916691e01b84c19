//! The calls of the Engine, by what they do and not by what they are done to.

/// Words of the Engine's paths that say what is done; all others are names.
const VERBS: [&str; 24] = [
    "archive",
    "attach",
    "connect",
    "create",
    "disconnect",
    "exec",
    "history",
    "json",
    "kill",
    "logs",
    "pause",
    "prune",
    "push",
    "rename",
    "resize",
    "restart",
    "start",
    "stats",
    "stop",
    "tag",
    "top",
    "unpause",
    "update",
    "wait",
];

/// A call of the Engine: its method, its path with names as `*`, and what was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Such as `POST /containers/*/start`.
    pub kind: String,
    /// The container, image or network.
    pub of: String,
}

impl Call {
    /// The call that a request line asks for.
    #[must_use]
    pub fn of(method: &str, target: &str) -> Call {
        let path = target.split('?').next().unwrap_or_default();
        let mut words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
        let is_version = |word: &&str| word.starts_with('v') && word.contains('.');
        if words.first().is_some_and(is_version) {
            words.remove(0);
        }
        let Some((resource, rest)) = words.split_first() else {
            return Call { kind: format!("{method} /"), of: String::new() };
        };
        // Names of images have slashes.
        let (names, verb) = match rest.split_last() {
            Some((last, names)) if VERBS.contains(last) => (names, Some(last)),
            _ => (rest, None),
        };
        let mut kind = format!("{method} /{resource}");
        if !names.is_empty() {
            kind.push_str("/*");
        }
        if let Some(verb) = verb {
            kind.push_str(&format!("/{verb}"));
        }
        Call { kind, of: names.join("/") }
    }

    /// Whether its answer goes on for as long as somebody listens.
    pub(super) fn is_endless(&self) -> bool {
        self.kind == "GET /events" || self.kind.ends_with("/logs") || self.kind.ends_with("/attach")
    }
}

#[cfg(test)]
mod tests {
    use super::Call;

    #[test]
    fn calls_are_told_apart_by_what_they_do() {
        for (method, target, kind, of) in [
            ("GET", "/_ping", "GET /_ping", ""),
            ("GET", "/v1.41/version", "GET /version", ""),
            ("POST", "/v1.41/containers/create?name=shop.1", "POST /containers/create", ""),
            ("GET", "/v1.41/containers/json?all=true", "GET /containers/json", ""),
            ("GET", "/containers/abc/json", "GET /containers/*/json", "abc"),
            ("DELETE", "/v1.41/containers/abc?force=true", "DELETE /containers/*", "abc"),
            (
                "GET",
                "/v1.41/images/127.0.0.1:5000/team/shop:1/json",
                "GET /images/*/json",
                "127.0.0.1:5000/team/shop:1",
            ),
            ("POST", "/v1.41/images/sha256:ab/tag?repo=x", "POST /images/*/tag", "sha256:ab"),
            ("DELETE", "/v1.41/images/gapless.invalid/a/b/c:web-1", "DELETE /images/*", "gapless.invalid/a/b/c:web-1"),
            ("GET", "/v1.41/networks/gapless", "GET /networks/*", "gapless"),
            ("POST", "/v1.41/networks/gapless.a/connect", "POST /networks/*/connect", "gapless.a"),
        ] {
            assert_eq!(Call::of(method, target), Call { kind: kind.to_owned(), of: of.to_owned() }, "{target}");
        }
    }
}
