//! Strict names, parsed at the edge and trusted inside: [`AppName`], [`EnvName`], [`ServiceName`], [`AppKey`],
//! [`HostPattern`] and [`PathPrefix`]. No name contains a newline or `..`, nor anything else with a meaning for a file
//! system, a container engine or a configuration language.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The reason why a text is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {shown:?} {reason}")]
pub struct NameError {
    /// The expected kind of name, such as `application name`.
    pub kind: &'static str,
    /// The rejected text, shortened to 80 characters.
    pub shown: String,
    /// The broken rule, as the rest of a sentence that begins with the name.
    pub reason: String,
}

impl NameError {
    /// The error that `text` is not a valid `kind` because of `reason`.
    pub fn new(kind: &'static str, text: &str, reason: impl Into<String>) -> Self {
        let mut shown: String = text.chars().take(80).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        NameError { kind, shown, reason: reason.into() }
    }
}

/// The largest length of a name of an application, environment or service: that of a DNS label.
pub const NAME_LENGTH_MAX: usize = 63;

fn check_label(kind: &'static str, text: &str) -> Result<(), NameError> {
    let fail = |reason: &str| Err(NameError::new(kind, text, reason));
    if text.is_empty() {
        return fail("is empty");
    }
    if text.len() > NAME_LENGTH_MAX {
        return fail("is longer than 63 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return fail("may only contain lower-case letters a-z, digits and hyphens");
    }
    if text.starts_with('-') || text.ends_with('-') {
        return fail("must begin and end with a letter or digit");
    }
    Ok(())
}

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        // The API describes the name as a string.
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                <String as utoipa::PartialSchema>::schema()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

text_newtype! {
    /// The name of an application: `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`.
    AppName
}

impl FromStr for AppName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_label("application name", text)?;
        Ok(AppName(text.to_owned()))
    }
}

text_newtype! {
    /// The name of an environment, under the same rule as [`AppName`].
    EnvName
}

impl FromStr for EnvName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_label("environment name", text)?;
        Ok(EnvName(text.to_owned()))
    }
}

impl Default for EnvName {
    /// The environment of a configuration that names none: `production`.
    fn default() -> Self {
        EnvName("production".to_owned())
    }
}

text_newtype! {
    /// The name of a service of an application, under the same rule as [`AppName`]. Within its slot the name is also
    /// the host name at which the other services reach it.
    ServiceName
}

impl FromStr for ServiceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_label("service name", text)?;
        Ok(ServiceName(text.to_owned()))
    }
}

impl Default for ServiceName {
    /// The service of a configuration that names none: `web`.
    fn default() -> Self {
        ServiceName("web".to_owned())
    }
}

impl std::borrow::Borrow<str> for ServiceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl ServiceName {
    /// The name is `web`, that of the only service in a configuration that names none.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == ServiceName::default()
    }

    /// The name as part of an environment variable: `API_V2` for `api-v2`.
    #[must_use]
    pub fn in_variable(&self) -> String {
        self.0.to_ascii_uppercase().replace('-', "_")
    }
}

/// An application in an environment: the key of deployments, live slots and routes. Written `app/env`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppKey {
    /// The application.
    pub app: AppName,
    /// The environment.
    pub env: EnvName,
}

impl AppKey {
    /// The application `app` in the environment `env`.
    #[must_use]
    pub const fn new(app: AppName, env: EnvName) -> Self {
        AppKey { app, env }
    }
}

impl fmt::Display for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app, self.env)
    }
}

impl FromStr for AppKey {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (app, env) = text
            .split_once('/')
            .ok_or_else(|| NameError::new("application and environment", text, "is not of the form `app/env`"))?;
        Ok(AppKey { app: app.parse()?, env: env.parse()? })
    }
}

impl TryFrom<String> for AppKey {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<AppKey> for String {
    fn from(key: AppKey) -> String {
        key.to_string()
    }
}

text_newtype! {
    /// The hosts of a route: a name (`shop.example.com`), a wildcard for one label in front (`*.example.com`), or `*`
    /// for every host without a route of its own. Always lower case, without port and trailing dot. Letters, digits,
    /// hyphens and dots only, so a name in another script must be written in its ASCII form (`xn--…`).
    HostPattern
}

impl HostPattern {
    /// The pattern that matches every host.
    #[must_use]
    pub fn any() -> Self {
        HostPattern("*".to_owned())
    }

    /// The pattern matches every host.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0 == "*"
    }

    /// The pattern is the name of a single host.
    #[must_use]
    pub fn is_name(&self) -> bool {
        !self.0.starts_with('*')
    }

    /// The part behind `*.` of a wildcard; `None` for other patterns.
    #[must_use]
    pub fn wildcard_suffix(&self) -> Option<&str> {
        self.0.strip_prefix("*.")
    }
}

impl FromStr for HostPattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const KIND: &str = "host";
        if text == "*" {
            return Ok(HostPattern::any());
        }
        let lower = text.to_ascii_lowercase();
        let lower = lower.strip_suffix('.').unwrap_or(&lower);
        let name = lower.strip_prefix("*.").unwrap_or(lower);
        if name.len() > 253 {
            return Err(NameError::new(KIND, text, "is longer than 253 characters"));
        }
        if name.contains('/') {
            return Err(NameError::new(KIND, text, "must be the name alone, without scheme and path"));
        }
        if name.contains(':') {
            return Err(NameError::new(KIND, text, "must not have a port"));
        }
        if !name.is_ascii() {
            return Err(NameError::new(KIND, text, "must be written in its ASCII form (xn--…)"));
        }
        for label in name.split('.') {
            let label_is_good = !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            if !label_is_good {
                return Err(NameError::new(
                    KIND,
                    text,
                    "is not a host name such as `shop.example.com` or `*.example.com`",
                ));
            }
        }
        Ok(HostPattern(lower.to_owned()))
    }
}

text_newtype! {
    /// The path prefix of a route: `/`, or segments such as `/api/v1`, without a slash at the end. A prefix matches
    /// whole segments: `/api` matches `/api` and `/api/x`, never `/apix`.
    PathPrefix
}

impl PathPrefix {
    /// The prefix covers `path`, the path of a request without its query.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        if self.0 == "/" {
            return true;
        }
        match path.strip_prefix(self.0.as_str()) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }
}

impl Default for PathPrefix {
    fn default() -> Self {
        PathPrefix("/".to_owned())
    }
}

impl FromStr for PathPrefix {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const KIND: &str = "path prefix";
        if text == "/" {
            return Ok(PathPrefix::default());
        }
        let fail = |reason: &str| Err(NameError::new(KIND, text, reason));
        if !text.starts_with('/') {
            return fail("must begin with `/`");
        }
        if text.len() > 1024 {
            return fail("is longer than 1024 characters");
        }
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        for segment in trimmed.split('/').skip(1) {
            if segment.is_empty() || segment == "." || segment == ".." {
                return fail("must not have empty, `.` or `..` segments");
            }
            if !segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@".contains(&b)) {
                return fail("may only contain characters that a URL path may contain");
            }
        }
        Ok(PathPrefix(trimmed.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn app_name_rejects_hostile_text() {
        let long = "a".repeat(300);
        for text in ["", "-a", "a-", "A", "a/b", "a\nb", "..", "a..b", "a b", "ä", "a;b", "$(id)", "a\0", &long] {
            assert!(text.parse::<AppName>().is_err(), "{text:?} was accepted");
        }
        assert!("a".repeat(63).parse::<AppName>().is_ok());
        assert!("a".repeat(64).parse::<AppName>().is_err());
    }

    #[test]
    fn name_error_shortens_long_text() {
        let error = "x/".repeat(200).parse::<AppName>().unwrap_err();
        assert!(error.to_string().len() < 300, "{error}");
    }

    #[test]
    fn host_pattern_is_normalised_to_one_spelling() {
        let host: HostPattern = "Shop.Example.COM.".parse().unwrap();
        assert_eq!(host.as_str(), "shop.example.com");
        assert_eq!("*.Example.com".parse::<HostPattern>().unwrap().wildcard_suffix(), Some("example.com"));
        for text in ["", "a:80", "*.*", "a*.b", "exa mple.com", "münchen.de", ".", "a..b", "a/b", "a\r\nb", "*."] {
            assert!(text.parse::<HostPattern>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn path_prefix_matches_whole_segments() {
        let api: PathPrefix = "/api/".parse().unwrap();
        assert!(api.matches("/api") && api.matches("/api/") && api.matches("/api/x"));
        assert!(!api.matches("/apix") && !api.matches("/"));
        for text in ["", "api", "/a/../b", "//", "/a//b", "/a b", "/a\n", "/.", "/a?b"] {
            assert!(text.parse::<PathPrefix>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn names_are_accepted_up_to_their_longest_length() {
        let host = |length: usize| {
            let labels = "a.".repeat(length / 2);
            format!("{labels}{}", "b".repeat(length - labels.len())).trim_end_matches('.').parse::<HostPattern>()
        };
        assert!(host(253).is_ok() && host(255).is_err());
        assert!("a".repeat(63).parse::<HostPattern>().is_ok() && "a".repeat(64).parse::<HostPattern>().is_err());
        let path = |length: usize| format!("/{}", "a".repeat(length - 1)).parse::<PathPrefix>();
        assert!(path(1024).is_ok() && path(1025).is_err());
        let shown = NameError::new("host", &"a".repeat(80), "x").shown;
        assert_eq!(shown, "a".repeat(80), "80 characters are shown whole");
    }

    #[test]
    fn host_pattern_is_name_wildcard_or_any() {
        let of = |text: &str| {
            let host: HostPattern = text.parse().unwrap();
            (host.is_any(), host.is_name(), host.wildcard_suffix().map(str::to_owned))
        };
        assert_eq!(of("*"), (true, false, None));
        assert_eq!(of("*.a.test"), (false, false, Some("a.test".into())));
        assert_eq!(of("a.test"), (false, true, None));
        assert!(PathPrefix::default().matches("/anything"));
    }

    #[test]
    fn service_name_in_variable_is_upper_case() {
        assert_eq!("api-v2".parse::<ServiceName>().unwrap().in_variable(), "API_V2");
        assert!(ServiceName::default().is_default() && !"api".parse::<ServiceName>().unwrap().is_default());
    }

    proptest! {
        #[test]
        fn accepted_app_name_is_safe_as_file_name(text in "\\PC{0,70}") {
            if let Ok(name) = text.parse::<AppName>() {
                prop_assert!(name.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
                prop_assert!(!name.as_str().is_empty() && name.as_str().len() <= NAME_LENGTH_MAX);
            }
        }
    }
}
