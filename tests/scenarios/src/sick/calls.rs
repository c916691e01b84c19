//! Calls of the Engine, classified by operation and independent of the object.

/// The words of the Engine's paths that name an operation; all other words are names.
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

/// A call of the Engine: its method, its path with `*` for names, and the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The kind of the call, such as `POST /containers/*/start`.
    pub kind: String,
    /// The name of the container, image or network.
    pub of: String,
}

impl Call {
    /// The call of a request line.
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
        // Image names contain slashes.
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

    /// Returns whether the answer lasts as long as the client listens.
    pub(super) fn is_endless(&self) -> bool {
        self.kind == "GET /events" || self.kind.ends_with("/logs") || self.kind.ends_with("/attach")
    }
}

#[cfg(test)]
mod tests {
    use super::Call;

    #[test]
    fn call_kind_comes_from_method_and_path() {
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
