//! The durable writes and outside effects of gapless, by name. Each is carried out between two places, one before and one
//! after it, at which the crash matrix has the process be killed, the call fail, or hang. Those places exist with the
//! feature `failpoints` only; without it a [`step`] is the call of its closure.
//!
//! **Architecture Invariant:** knows nothing of what the effects are. Whoever drives a [`Point`] and lists it here is
//! compared by `tests/e2e/tests/effects.rs`.

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
            /// All there are.
            pub const ALL: &'static [Point] = &[$(Point::$point,)*];

            /// Its name, such as `runtime.start`.
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
    /// Any other transaction: facts that are published, a deployment's record alone.
    StoreOther = "store.other",
    /// What is read of the store.
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
    /// An instance goes on.
    RuntimeThaw = "runtime.thaw",
    /// What rollbacks need is kept.
    RuntimeKeep = "runtime.keep",
    /// Whether an instance comes back with the host.
    RuntimeSetRestart = "runtime.set_restart",
    /// A data plane is told a whole table.
    PlaneReplace = "plane.replace",
    /// A data plane is told a change of its table.
    PlaneChange = "plane.change",
    /// A data plane is asked how it is.
    PlaneStatus = "plane.status",
    /// A gate or a hook is carried out.
    Gate = "gate",
    /// The proxy's table file is created beside its place.
    TableCreate = "table.create",
    /// The table is written.
    TableWrite = "table.write",
    /// The table is synced.
    TableSync = "table.sync",
    /// The table is renamed into its place.
    TableRename = "table.rename",
    /// The table's folder is synced.
    TableFolder = "table.folder",
    /// A file of the process runtime is created beside its place.
    ProcessCreate = "process.create",
    /// A file of the process runtime is written.
    ProcessWrite = "process.write",
    /// A file of the process runtime is synced.
    ProcessSync = "process.sync",
    /// A file of the process runtime is renamed into its place.
    ProcessRename = "process.rename",
    /// The folder of a file of the process runtime is synced.
    ProcessSyncFolder = "process.sync_folder",
    /// The folder of an instance is made.
    ProcessFolder = "process.folder",
    /// What an earlier run of an instance left is removed.
    ProcessForget = "process.forget",
    /// The log of a shim is created.
    ProcessShimLog = "process.shim_log",
    /// A shim is started.
    ProcessShim = "process.shim",
    /// A shim starts its program.
    ProcessProgram = "process.program",
    /// A program is copied.
    ProgramCopy = "program.copy",
    /// The folder of a program is made.
    ProgramFolder = "program.folder",
    /// The copy of a program is renamed into its place.
    ProgramRename = "program.rename",
    /// The folders of a program are synced.
    ProgramSync = "program.sync",
    /// The folder is made in which is noted what is kept.
    ProgramKept = "program.kept",
    /// Whether an instance comes back with the host is noted.
    ProcessRestart = "process.restart",
    /// That an instance is frozen is noted.
    ProcessFrozen = "process.frozen",
    /// That an instance is not frozen any more is noted.
    ProcessThawed = "process.thawed",
    /// The folder of an instance is removed.
    ProcessRemove = "process.remove",
    /// The server starts the proxy.
    ProxyStart = "proxy.start",
    /// The proxy is given its listening sockets.
    ProxyGive = "proxy.give",
    /// The proxy starts the one that is to take its place.
    ProxySuccessor = "proxy.successor",
    /// The control socket of a proxy that is replaced gets another name.
    ProxyAside = "proxy.aside",
    /// A socket of the proxy's is renamed into its place.
    ProxySocket = "proxy.socket",
    /// The server's socket is renamed into its place.
    ServerSocket = "server.socket",
    /// Who the server is, is noted.
    ServerId = "server.id",
    /// The server executes itself anew.
    ServerExec = "server.exec",
    /// The file of the state is created beside its place.
    StateCreate = "state.create",
    /// What is in an empty state is written.
    StateWrite = "state.write",
    /// The file of the state is synced.
    StateSync = "state.sync",
    /// The file of the state is renamed into its place.
    StateRename = "state.rename",
    /// The folder of the state is synced.
    StateFolder = "state.folder",
    /// A file of nginx's configuration is created beside its place.
    NginxCreate = "nginx.create",
    /// A file of nginx's configuration is written.
    NginxWrite = "nginx.write",
    /// A file of nginx's configuration is synced.
    NginxSync = "nginx.sync",
    /// A file of nginx's configuration is renamed into its place.
    NginxRename = "nginx.rename",
    /// A file of nginx's configuration is removed.
    NginxRemove = "nginx.remove",
    /// The folder of nginx's configuration is synced.
    NginxFolder = "nginx.folder",
    /// nginx is told to read its configuration anew.
    NginxReload = "nginx.reload",
    /// A unit file of systemd's, or its variables, is created beside its place.
    UnitCreate = "unit.create",
    /// A unit file is written.
    UnitWrite = "unit.write",
    /// A unit file is synced.
    UnitSync = "unit.sync",
    /// A unit file is renamed into its place.
    UnitRename = "unit.rename",
    /// A unit file is removed.
    UnitRemove = "unit.remove",
    /// The folder of an instance that systemd ran is removed.
    UnitFolder = "unit.folder",
    /// systemd is told something.
    SystemdCall = "systemd.call",
    /// systemd begins to start or to stop a unit.
    SystemdJob = "systemd.job",
}

/// Carries out a write or an outside effect.
///
/// # Errors
/// The effect's own, or that of a fault that a test has asked for.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
#[allow(clippy::inline_always)]
pub fn step<T>(_: Point, effect: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    effect()
}

/// Carries out a write or an outside effect.
///
/// # Errors
/// The effect's own, or that of a fault that a test has asked for.
#[cfg(feature = "failpoints")]
pub fn step<T>(point: Point, effect: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    trip(point, "before")?;
    let done = effect()?;
    trip(point, "after")?;
    Ok(done)
}

/// Carries out an asynchronous write or outside effect. A fault is an error that `failed` makes one of the effect's own.
///
/// # Errors
/// The effect's own, or that of a fault that a test has asked for.
#[cfg(not(feature = "failpoints"))]
pub async fn step_async<T, E>(
    _: Point,
    _: impl Fn(io::Error) -> E,
    effect: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    effect.await
}

/// Carries out an asynchronous write or outside effect. A fault is an error that `failed` makes one of the effect's own.
///
/// # Errors
/// The effect's own, or that of a fault that a test has asked for.
#[cfg(feature = "failpoints")]
pub async fn step_async<T, E>(
    point: Point,
    failed: impl Fn(io::Error) -> E,
    effect: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    around(point, |fault| failed(fault.into()), effect).await
}
