//! Errors of etcd as messages for people: the cause and the remedy.

use crate::StoreError;
use etcd_client::Error;
use std::error::Error as _;
use std::io;

/// A failed call.
#[derive(Debug)]
pub(super) enum EtcdError {
    /// An error from etcd or from the connection.
    Etcd(Error),
    /// No answer within this time.
    Deadline(std::time::Duration),
}

impl EtcdError {
    /// The call certainly never reached etcd, so it can be repeated.
    pub(super) fn was_not_sent(&self) -> bool {
        self.causes_io(|kind| {
            matches!(
                kind,
                io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
            )
        })
    }

    /// The same call may succeed when it is repeated.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            EtcdError::Deadline(_) => true,
            EtcdError::Etcd(Error::GRpcStatus(status)) => {
                let text = self.text();
                // Unavailable, Unknown (a broken connection), Cancelled.
                matches!(status.code() as i32, 14 | 2 | 1) && tls_advice(&text).is_none()
            }
            EtcdError::Etcd(error) => {
                matches!(error, Error::TransportError(_) | Error::IoError(_) | Error::WatchError(_))
            }
        }
    }

    /// The requested revision has been compacted.
    pub(super) fn is_compacted(&self) -> bool {
        self.text().contains("required revision has been compacted")
    }

    /// The error of a call while the store is being opened: [`StoreError::Open`] if no retry can succeed.
    pub(super) fn while_opening(self, place: &str, has_tls: bool) -> StoreError {
        // With TLS 1.3 a client learns only later, if at all, that the server rejected its certificate.
        let text = self.text();
        let is_cut_off = ["connection closed", "connection reset", "broken pipe", "Broken pipe"];
        if has_tls && is_cut_off.iter().any(|cut_off| text.contains(cut_off)) {
            let why = format!(
                "etcd closes the connection at once, most often because it rejects the client certificate; check \
                 `cert` and `key` ({text})"
            );
            return StoreError::Open { place: place.to_owned(), why };
        }
        let is_transient = self.is_transient() || self.is_full();
        match self.while_running(place) {
            StoreError::Unavailable { place, why } if !is_transient => StoreError::Open { place, why },
            error => error,
        }
    }

    /// The error of a call to an open store.
    pub(super) fn while_running(self, place: &str) -> StoreError {
        let text = self.text();
        if text.contains("too many operations in txn request") || text.contains("request is too large") {
            return StoreError::Invalid(format!(
                "etcd rejected the transaction ({text}): it runs with lower limits than its defaults; start it with \
                 --max-txn-ops of at least 128 and --max-request-bytes of at least 1.5 MiB"
            ));
        }
        StoreError::Unavailable { place: place.to_owned(), why: self.advice(&text) }
    }

    fn is_full(&self) -> bool {
        self.text().contains("database space exceeded")
    }

    fn advice(&self, text: &str) -> String {
        if let EtcdError::Deadline(after) = self {
            return format!(
                "no answer within {} s; check that etcd runs and has a leader (`etcdctl endpoint status`). Requests \
                 are still being served",
                after.as_secs_f32()
            );
        }
        let has = |needle: &str| text.contains(needle);
        if self.is_full() {
            return "etcd's space quota is used up, so it accepts no writes (NOSPACE); compact and defragment it \
                    (`etcdctl compact`, `etcdctl defrag`), then run `etcdctl alarm disarm`, or raise \
                    --quota-backend-bytes"
                .to_owned();
        }
        if has("invalid user ID or password") {
            return "the user or the password is wrong; check `user` and `password_file`".to_owned();
        }
        if has("user name is empty") || has("user name not found") {
            return "etcd requires a user; set `user` and `password_file`".to_owned();
        }
        if has("authentication is not enabled") {
            return "etcd's authentication is off, so it has no users; remove `user` and `password_file`, or turn it \
                    on (`etcdctl auth enable`)"
                .to_owned();
        }
        if has("permission denied") {
            return "the user has no permission; grant its role the prefix that gapless uses (`etcdctl role \
                    grant-permission ROLE readwrite --prefix=true PREFIX`)"
                .to_owned();
        }
        if let Some(advice) = tls_advice(text) {
            return format!("{advice} ({text})");
        }
        if self.causes_io(|kind| kind == io::ErrorKind::ConnectionRefused) {
            return "connection refused: nothing listens at that address; check that etcd runs, and `endpoints`. \
                    Requests are still being served"
                .to_owned();
        }
        if has("dns error") || has("failed to lookup address") {
            return format!("the host name cannot be resolved; check `endpoints` ({text})");
        }
        if has("no leader") || has("leader changed") {
            return format!(
                "etcd has no leader at the moment, because most of its members are unreachable; gapless continues when \
                 they are back ({text})"
            );
        }
        format!("{text}. Later requests are retried")
    }

    /// The whole chain of causes, in one line.
    fn text(&self) -> String {
        match self {
            EtcdError::Deadline(after) => format!("no answer within {after:?}"),
            EtcdError::Etcd(Error::GRpcStatus(status)) => {
                let mut text = status.message().to_owned();
                let mut source = status.source();
                while let Some(cause) = source {
                    let message = cause.to_string();
                    if !text.contains(&message) {
                        text = format!("{text}: {message}");
                    }
                    source = cause.source();
                }
                text
            }
            EtcdError::Etcd(error) => error.to_string(),
        }
    }

    fn causes_io(&self, matches: impl Fn(io::ErrorKind) -> bool) -> bool {
        let EtcdError::Etcd(Error::GRpcStatus(status)) = self else { return false };
        let mut source = status.source();
        while let Some(cause) = source {
            if cause.downcast_ref::<io::Error>().is_some_and(|error| matches(error.kind())) {
                return true;
            }
            source = cause.source();
        }
        false
    }
}

fn tls_advice(text: &str) -> Option<&'static str> {
    let has = |needle: &str| text.contains(needle);
    if has("UnknownIssuer") || has("BadSignature") {
        return Some("etcd's certificate is not signed by the authority in `ca`");
    }
    if has("NotValidForName") || has("not valid for name") {
        return Some("etcd's certificate is for another name or address than that in `endpoints`");
    }
    if has("CertificateRequired") || has("BadCertificate") || has("bad certificate") || has("UnknownCA") {
        return Some("etcd rejects the client certificate; check `cert` and `key`");
    }
    if has("Expired") || has("NotValidYet") {
        return Some("a certificate is expired or not yet valid; renew it, or set the clock");
    }
    if has("InvalidContentType")
        || has("corrupt message")
        || has("InvalidCertificate")
        || has("invalid peer certificate")
    {
        return Some("no TLS connection can be made; check that etcd speaks TLS, and `ca`");
    }
    None
}

impl From<Error> for EtcdError {
    fn from(error: Error) -> Self {
        EtcdError::Etcd(error)
    }
}
