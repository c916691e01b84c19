//! The durable writes and outside effects of gapless, by name. Each runs between two failpoints, one before and one
//! after it, at which the crash matrix kills the process or makes the call fail or hang. The failpoints exist only with
//! the feature `failpoints`; without it a [`step`] is a plain call of its closure.
//!
//! **Architecture Invariant:** does not depend on the effects. `tests/e2e/tests/effects.rs` checks that every [`Point`]
//! in this list is used and every used one is listed.

#[cfg(feature = "failpoints")]
mod faults;

#[cfg(feature = "failpoints")]
pub use faults::{Fault, around, faulted, trip};

use std::io;

macro_rules! points {
    ($($(#[$doc:meta])* $point:ident = $name:literal,)*) => {
        /// A durable write or an outside effect.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Point { $($(#[$doc])* $point,)* }

        impl Point {
            /// All points.
            pub const ALL: &'static [Point] = &[$(Point::$point,)*];

            /// The name, such as `runtime.start`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Point::$point => $name,)* }
            }
        }
    };
}

points! {
    /// A transaction with an application's record.
    StoreApplication = "store.application",
    /// Any other transaction: published facts, or a deployment's record alone.
    StoreOther = "store.other",
    /// A read of the store.
    StoreRead = "store.read",
    /// A release is resolved and fetched.
    RuntimePrepare = "runtime.prepare",
    /// An instance is started.
    RuntimeStart = "runtime.start",
    /// Instances are listed.
    RuntimeList = "runtime.list",
    /// An instance is stopped.
    RuntimeStop = "runtime.stop",
    /// An instance is frozen.
    RuntimeFreeze = "runtime.freeze",
    /// An instance is thawed.
    RuntimeThaw = "runtime.thaw",
    /// The artifacts for rollbacks are retained.
    RuntimeKeep = "runtime.keep",
    /// The start of an instance at boot is turned on or off.
    RuntimeSetRestart = "runtime.set_restart",
    /// A whole table is sent to a data plane.
    PlaneReplace = "plane.replace",
    /// A change of the table is sent to a data plane.
    PlaneChange = "plane.change",
    /// The status of a data plane is requested.
    PlaneStatus = "plane.status",
    /// A gate or a hook is run.
    Gate = "gate",
    /// The new table file of the proxy is created.
    TableCreate = "table.create",
    /// The table is written.
    TableWrite = "table.write",
    /// The table is synced.
    TableSync = "table.sync",
    /// The new table file replaces the old one.
    TableRename = "table.rename",
    /// The table's folder is synced.
    TableFolder = "table.folder",
    /// A new file of the process runtime is created.
    ProcessCreate = "process.create",
    /// A file of the process runtime is written.
    ProcessWrite = "process.write",
    /// A file of the process runtime is synced.
    ProcessSync = "process.sync",
    /// A new file of the process runtime replaces the old one.
    ProcessRename = "process.rename",
    /// The folder of a file of the process runtime is synced.
    ProcessSyncFolder = "process.sync_folder",
    /// The folder of an instance is created.
    ProcessFolder = "process.folder",
    /// The files of an earlier run of an instance are removed.
    ProcessForget = "process.forget",
    /// The log of a shim is created.
    ProcessShimLog = "process.shim_log",
    /// A shim is started.
    ProcessShim = "process.shim",
    /// A shim starts its program.
    ProcessProgram = "process.program",
    /// A program is copied.
    ProgramCopy = "program.copy",
    /// The folder of a program is created.
    ProgramFolder = "program.folder",
    /// The copy of a program gets its final name.
    ProgramRename = "program.rename",
    /// The folders of a program are synced.
    ProgramSync = "program.sync",
    /// The folder for the lists of needed programs is created.
    ProgramKept = "program.kept",
    /// The start of an instance at boot is recorded.
    ProcessRestart = "process.restart",
    /// The freeze of an instance is recorded.
    ProcessFrozen = "process.frozen",
    /// The thaw of an instance is recorded.
    ProcessThawed = "process.thawed",
    /// The folder of an instance is removed.
    ProcessRemove = "process.remove",
    /// The server starts the proxy.
    ProxyStart = "proxy.start",
    /// The proxy receives its listening sockets.
    ProxyGive = "proxy.give",
    /// The proxy starts its successor.
    ProxySuccessor = "proxy.successor",
    /// The control socket of a replaced proxy is renamed.
    ProxyAside = "proxy.aside",
    /// A new socket of the proxy replaces the old one.
    ProxySocket = "proxy.socket",
    /// The server's new socket replaces the old one.
    ServerSocket = "server.socket",
    /// The server's identity is recorded.
    ServerId = "server.id",
    /// The server executes itself again.
    ServerExec = "server.exec",
    /// A new state file is created.
    StateCreate = "state.create",
    /// The content of an empty state is written.
    StateWrite = "state.write",
    /// The state file is synced.
    StateSync = "state.sync",
    /// The new state file gets its final name.
    StateRename = "state.rename",
    /// The folder of the state is synced.
    StateFolder = "state.folder",
    /// A new file of nginx's configuration is created.
    NginxCreate = "nginx.create",
    /// A file of nginx's configuration is written.
    NginxWrite = "nginx.write",
    /// A file of nginx's configuration is synced.
    NginxSync = "nginx.sync",
    /// A new file of nginx's configuration replaces the old one.
    NginxRename = "nginx.rename",
    /// A file of nginx's configuration is removed.
    NginxRemove = "nginx.remove",
    /// The folder of nginx's configuration is synced.
    NginxFolder = "nginx.folder",
    /// nginx gets the signal to reload its configuration.
    NginxReload = "nginx.reload",
    /// A new unit file of systemd, or its file of variables, is created.
    UnitCreate = "unit.create",
    /// A unit file is written.
    UnitWrite = "unit.write",
    /// A unit file is synced.
    UnitSync = "unit.sync",
    /// The new unit file replaces the old one.
    UnitRename = "unit.rename",
    /// A unit file is removed.
    UnitRemove = "unit.remove",
    /// The folder of an instance under systemd is removed.
    UnitFolder = "unit.folder",
    /// systemd gets a call.
    SystemdCall = "systemd.call",
    /// systemd queues the start or the stop of a unit.
    SystemdJob = "systemd.job",
}

/// Runs a durable write or an outside effect.
///
/// # Errors
/// The error of the effect, or a requested fault.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
#[allow(clippy::inline_always)]
pub fn step<T>(_: Point, effect: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    effect()
}

/// Runs a durable write or an outside effect.
///
/// # Errors
/// The error of the effect, or a requested fault.
#[cfg(feature = "failpoints")]
pub fn step<T>(point: Point, effect: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    trip(point, "before")?;
    let done = effect()?;
    trip(point, "after")?;
    Ok(done)
}

/// Runs an asynchronous effect. `failed` converts a requested fault into the effect's error type.
///
/// # Errors
/// The error of the effect, or a requested fault.
#[cfg(not(feature = "failpoints"))]
pub async fn step_async<T, E>(
    _: Point,
    _: impl Fn(io::Error) -> E,
    effect: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    effect.await
}

/// Runs an asynchronous effect. `failed` converts a requested fault into the effect's error type.
///
/// # Errors
/// The error of the effect, or a requested fault.
#[cfg(feature = "failpoints")]
pub async fn step_async<T, E>(
    point: Point,
    failed: impl Fn(io::Error) -> E,
    effect: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    around(point, |fault| failed(fault.into()), effect).await
}
