//! What can go wrong with an etcd, told to a person: what happened, why, and what to do.

use crate::StoreError;
use etcd_client::Error;
use std::error::Error as _;
use std::io;

/// A failed call.
#[derive(Debug)]
pub(super) enum Trouble {
    /// etcd, or the way there, says so.
    Etcd(Error),
    /// No answer came in time.
    Deadline(std::time::Duration),
}

impl Trouble {
    /// Whether it is certain that etcd never saw the call, so that it can be made again.
    pub(super) fn was_not_sent(&self) -> bool {
        self.causes_io(|kind| {
            matches!(
                kind,
                io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
            )
        })
    }

    /// Whether the same call may succeed if it is made again.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Trouble::Deadline(_) => true,
            Trouble::Etcd(Error::GRpcStatus(status)) => {
                let text = self.text();
                // Unavailable, unknown (of a broken connection), cancelled.
                matches!(status.code() as i32, 14 | 2 | 1) && tls_advice(&text).is_none()
            }
            Trouble::Etcd(error) => {
                matches!(error, Error::TransportError(_) | Error::IoError(_) | Error::WatchError(_))
            }
        }
    }

    /// Whether what was asked for has been compacted.
    pub(super) fn is_compacted(&self) -> bool {
        self.text().contains("required revision has been compacted")
    }

    /// The error of a call to a store that is being opened: what will not pass by itself is told apart.
    pub(super) fn while_opening(self, place: &str, has_tls: bool) -> StoreError {
        // With TLS 1.3 a client learns only afterwards that its certificate was not taken, if it is told at all.
        let text = self.text();
        let is_cut_off = ["connection closed", "connection reset", "broken pipe", "Broken pipe"];
        if has_tls && is_cut_off.iter().any(|cut_off| text.contains(cut_off)) {
            let why = format!(
                "it closes the connection at once; most often because it does not take the client certificate: see \
                 `cert` and `key` ({text})"
            );
            return StoreError::Open { place: place.to_owned(), why };
        }
        let may_pass = self.may_pass() || self.is_full();
        match self.while_running(place) {
            StoreError::Unavailable { place, why } if !may_pass => StoreError::Open { place, why },
            error => error,
        }
    }

    /// The error of a call to a store that is open.
    pub(super) fn while_running(self, place: &str) -> StoreError {
        let text = self.text();
        if text.contains("too many operations in txn request") || text.contains("request is too large") {
            return StoreError::Invalid(format!(
                "etcd takes no such transaction ({text}); it was started with a smaller --max-txn-ops or \
                 --max-request-bytes than it has as it comes: gapless needs 128 operations and 1.5 MiB"
            ));
        }
        StoreError::Unavailable { place: place.to_owned(), why: self.advice(&text) }
    }

    fn is_full(&self) -> bool {
        self.text().contains("database space exceeded")
    }

    fn advice(&self, text: &str) -> String {
        if let Trouble::Deadline(after) = self {
            return format!(
                "no answer within {} s; see whether etcd runs and has a leader (`etcdctl endpoint status`). Routes go \
                 on being served meanwhile",
                after.as_secs_f32()
            );
        }
        let has = |needle: &str| text.contains(needle);
        if self.is_full() {
            return "its space quota is used up, so that it takes no more writes (NOSPACE); compact and defragment it \
                    (`etcdctl compact`, `etcdctl defrag`), then `etcdctl alarm disarm`, or give it a larger \
                    --quota-backend-bytes"
                .to_owned();
        }
        if has("invalid user ID or password") {
            return "user or password is wrong; see `user` and `password_file`".to_owned();
        }
        if has("user name is empty") || has("user name not found") {
            return "it asks who is there; set `user` and `password_file`".to_owned();
        }
        if has("authentication is not enabled") {
            return "it knows no users, because its authentication is off; remove `user` and `password_file`, or turn \
                    it on (`etcdctl auth enable`)"
                .to_owned();
        }
        if has("permission denied") {
            return "the user may not do that; grant its role the prefix that gapless uses (`etcdctl role \
                    grant-permission ROLE readwrite --prefix=true PREFIX`)"
                .to_owned();
        }
        if let Some(advice) = tls_advice(text) {
            return format!("{advice} ({text})");
        }
        if self.causes_io(|kind| kind == io::ErrorKind::ConnectionRefused) {
            return "the connection was refused: nothing listens there; see whether etcd runs, and `endpoints`. Routes \
                    go on being served meanwhile"
                .to_owned();
        }
        if has("dns error") || has("failed to lookup address") {
            return format!("its name cannot be resolved; see `endpoints` ({text})");
        }
        if has("no leader") || has("leader changed") {
            return format!(
                "it has no leader just now, because most of its members are away; it goes on by itself when they are \
                 back ({text})"
            );
        }
        format!("{text}. Later requests are tried anew")
    }

    /// The whole chain, in one line.
    fn text(&self) -> String {
        match self {
            Trouble::Deadline(after) => format!("no answer within {after:?}"),
            Trouble::Etcd(Error::GRpcStatus(status)) => {
                let mut text = status.message().to_owned();
                let mut source = status.source();
                while let Some(cause) = source {
                    let said = cause.to_string();
                    if !text.contains(&said) {
                        text = format!("{text}: {said}");
                    }
                    source = cause.source();
                }
                text
            }
            Trouble::Etcd(error) => error.to_string(),
        }
    }

    fn causes_io(&self, is_it: impl Fn(io::ErrorKind) -> bool) -> bool {
        let Trouble::Etcd(Error::GRpcStatus(status)) = self else { return false };
        let mut source = status.source();
        while let Some(cause) = source {
            if cause.downcast_ref::<io::Error>().is_some_and(|error| is_it(error.kind())) {
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
        return Some("its certificate is not signed by the authority in `ca`");
    }
    if has("NotValidForName") || has("not valid for name") {
        return Some("its certificate is for another name or address than the one in `endpoints`");
    }
    if has("CertificateRequired") || has("BadCertificate") || has("bad certificate") || has("UnknownCA") {
        return Some("it does not take the client certificate; see `cert` and `key`");
    }
    if has("Expired") || has("NotValidYet") {
        return Some("a certificate is not valid at this time; renew it, or set the clock");
    }
    if has("InvalidContentType")
        || has("corrupt message")
        || has("InvalidCertificate")
        || has("invalid peer certificate")
    {
        return Some("no TLS connection can be made; see whether it speaks TLS at all, and `ca`");
    }
    None
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble::Etcd(error)
    }
}
