//! What the fuzz targets (`fuzz/`) see of the inside: the guard's framing, the router and the table's file, without
//! sockets and disks.

use crate::guard::{Found, Scan};
use crate::placement::Placement;
use crate::router::{Routes, normalise_host};
use crate::{Limits, table_file};
use gapless_core::routes::RouteTable;
use gapless_core::{AppKey, PlacementId, ServiceName};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the guard made of what a client sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Guarded {
    /// What it passed on.
    pub passed: Vec<u8>,
    /// Each head that it passed on: where it begins in that, and its length.
    pub heads: Vec<(usize, usize)>,
    /// Why it refused the request that came next, or the body of the last one.
    pub refused: Option<&'static str>,
    /// Whether the last head asks for an upgrade: what follows may be another protocol's, and is not read as requests.
    pub upgrade: bool,
}

/// Feeds the guard with one piece after the other, as they would come from a socket.
pub fn guard<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Guarded {
    let (mut scan, mut guarded, mut kept) = (Scan::default(), Guarded::default(), Vec::new());
    for piece in pieces {
        kept.extend_from_slice(piece);
        let passed = scan.scan(&kept, limits, |found| match found {
            Found::Begun => {}
            Found::Head(_, head) => {
                // Where it lies in what was kept is where it will lie in what is passed on.
                let at = head.as_ptr().addr() - kept.as_ptr().addr();
                guarded.heads.push((guarded.passed.len() + at, head.len()));
            }
            Found::Refused(refusal) => guarded.refused = Some(refusal.reason),
        });
        guarded.passed.extend(kept.drain(..passed));
        match scan {
            Scan::BadBody(refusal) => guarded.refused = Some(refusal.reason),
            Scan::Held => guarded.upgrade = true,
            _ => {}
        }
    }
    guarded
}

/// A table that requests are routed by.
#[derive(Debug, Default)]
pub struct Router(Routes);

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub struct Routed {
    /// The application.
    pub app: AppKey,
    /// The services of the instances that may answer.
    pub services: BTreeSet<ServiceName>,
    /// How many bytes are cut off the path.
    pub strip: usize,
}

impl Router {
    /// Changes it to that table, by what is other in it.
    pub fn change_to(&mut self, table: &RouteTable) {
        let mut find = |id: &PlacementId| Placement::new(id.clone(), 1);
        self.0 = self.0.with(table.version, &self.0.changes_to(table), &mut find);
    }

    /// Where a request goes with that `Host` header, for that path.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<Routed> {
        let mut buffer = String::new();
        let (group, strip) = self.0.find(normalise_host(host, &mut buffer)?, path)?;
        let (app, _) = self.0.groups.iter().find(|(_, other)| Arc::ptr_eq(&other.source, &group.source))?;
        let services = group.slots.iter().flat_map(|slot| &slot.instances).map(|instance| instance.service.clone());
        Some(Routed { app: AppKey::clone(app), services: services.collect(), strip })
    }

    /// The text of its file.
    #[must_use]
    pub fn file(&self) -> Vec<u8> {
        table_file::encode(self.0.to_json())
    }
}

/// A `Host` header as it is looked up.
#[must_use]
pub fn host(host: &str) -> Option<String> {
    normalise_host(host, &mut String::new()).map(str::to_owned)
}

/// The table that a file's text is.
///
/// # Errors
/// Why it is none.
pub fn table(file: &[u8]) -> Result<RouteTable, String> {
    table_file::decode(file)
}
