//! systemd's interface on D-Bus (org.freedesktop.systemd1(5)): the calls that gapless makes, each with a deadline.

use futures_util::StreamExt;
use gapless_effect::{Point, step_async};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::sync::Mutex;
use zbus::zvariant::{DynamicType, Type};
use zbus::{Connection, OwnedObjectPath, OwnedVariant, Proxy, Variant};

const DESTINATION: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
/// The parent path of all unit objects.
pub(super) const UNITS: &str = "/org/freedesktop/systemd1/unit";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// How long a call may take.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// How long a reload of all unit files may take.
const RELOAD_DEADLINE: Duration = Duration::from_secs(60);

/// An error of a call to systemd.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// systemd cannot be reached.
    #[error("systemd cannot be reached over D-Bus ({0}); is systemd this host's init, and dbus.service active?")]
    Unreachable(String),
    /// systemd rejected the call.
    #[error("{method} {subject}: {why}")]
    Refused {
        /// The called method.
        method: &'static str,
        /// The argument, such as a unit.
        subject: String,
        /// The message of systemd.
        why: String,
        /// The error's name on D-Bus.
        name: String,
    },
    /// The job failed.
    #[error("{unit}: {result}; see `journalctl -u {unit}`")]
    Job {
        /// The unit.
        unit: String,
        /// How it ended: `failed`, `timeout`, `dependency`, …
        result: String,
    },
    /// No answer in time.
    #[error("systemd did not answer to {method} within {} s", deadline.as_secs())]
    Timeout {
        /// The called method.
        method: &'static str,
        /// The deadline.
        deadline: Duration,
    },
}

impl ManagerError {
    /// The unit does not exist or is not loaded.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, ManagerError::Refused { name, .. } if name.ends_with("NoSuchUnit"))
    }
}

/// The systemd of this host (not a user's).
#[derive(Default)]
pub struct Manager {
    connection: Mutex<Option<Connection>>,
}

/// The properties of a unit.
pub(super) struct Properties(HashMap<String, OwnedVariant>);

/// A queued job of systemd.
pub(super) struct Job {
    unit: String,
    path: OwnedObjectPath,
    removed: zbus::proxy::SignalStream<'static>,
}

impl Manager {
    /// The version of systemd.
    ///
    /// # Errors
    /// If systemd cannot be reached.
    pub async fn version(&self) -> Result<String, ManagerError> {
        let connection = self.connection().await?;
        let version = within("Version", CALL_DEADLINE, async {
            let manager = manager(&connection).await?;
            manager.get_property::<String>("Version").await
        });
        version.await?.map_err(|error| refused("Version", "", &error))
    }

    /// Reloads all unit files.
    ///
    /// # Errors
    /// If systemd cannot be reached, or takes too long.
    pub async fn reload(&self) -> Result<(), ManagerError> {
        self.call_within("Reload", "", &(), RELOAD_DEADLINE).await
    }

    /// Enables the units, so that they start at boot.
    ///
    /// # Errors
    /// If systemd rejects the call.
    pub async fn enable(&self, units: &[&str]) -> Result<(), ManagerError> {
        type Answer = (bool, Vec<(String, String, String)>);
        self.call::<_, Answer>("EnableUnitFiles", &units.join(" "), &(units, false, true)).await.map(drop)
    }

    /// Disables the units, so that they do not start at boot. Does nothing for units that are not enabled.
    ///
    /// # Errors
    /// If systemd rejects the call.
    pub async fn disable(&self, units: &[&str]) -> Result<(), ManagerError> {
        type Answer = Vec<(String, String, String)>;
        self.call::<_, Answer>("DisableUnitFiles", &units.join(" "), &(units, false)).await.map(drop)
    }

    /// Starts a unit and waits until it is active, up to `deadline`.
    ///
    /// # Errors
    /// If the unit does not become active.
    pub async fn start(&self, unit: &str, deadline: Duration) -> Result<(), ManagerError> {
        self.job("StartUnit", unit).await?.done(deadline).await
    }

    /// Starts or restarts a unit and waits until it is active, up to `deadline`.
    ///
    /// # Errors
    /// If the unit does not become active.
    pub async fn restart(&self, unit: &str, deadline: Duration) -> Result<(), ManagerError> {
        self.job("RestartUnit", unit).await?.done(deadline).await
    }

    /// Stops a unit and waits until it has stopped, up to `deadline`. Does nothing if there is no such unit.
    ///
    /// # Errors
    /// If the unit does not stop.
    pub async fn stop(&self, unit: &str, deadline: Duration) -> Result<(), ManagerError> {
        match self.job("StopUnit", unit).await {
            Ok(mut job) => job.done(deadline).await,
            Err(error) if error.is_missing() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Queues a job, whose end the caller awaits.
    pub(super) async fn job(&self, method: &'static str, unit: &str) -> Result<Job, ManagerError> {
        let connection = self.connection().await?;
        let begun = within(method, CALL_DEADLINE, async {
            let manager = manager(&connection).await?;
            // Subscribed before the call: the job can end before the call is answered.
            let removed = manager.receive_signal("JobRemoved").await?;
            let path: OwnedObjectPath = manager.call(method, &(unit, "replace")).await?;
            Ok(Job { unit: unit.to_owned(), path, removed })
        });
        let begun = async { begun.await?.map_err(|error: zbus::Error| refused(method, unit, &error)) };
        step_async(Point::SystemdJob, unreachable, Box::pin(begun)).await
    }

    /// Sends a signal to all processes of a unit.
    pub(super) async fn kill(&self, unit: &str, signal: i32) -> Result<(), ManagerError> {
        self.call("KillUnit", unit, &(unit, "all", signal)).await
    }

    /// Freezes or thaws a unit.
    pub(super) async fn set_frozen(&self, unit: &str, is_frozen: bool) -> Result<(), ManagerError> {
        self.call(if is_frozen { "FreezeUnit" } else { "ThawUnit" }, unit, &(unit,)).await
    }

    /// Resets the failed state of a unit.
    pub(super) async fn reset_failed(&self, unit: &str) -> Result<(), ManagerError> {
        match self.call("ResetFailedUnit", unit, &(unit,)).await {
            Err(error) if error.is_missing() => Ok(()),
            other => other,
        }
    }

    /// The process ids of a unit.
    pub(super) async fn processes(&self, unit: &str) -> Result<Vec<u32>, ManagerError> {
        let processes: Vec<(String, u32, String)> = self.call("GetUnitProcesses", unit, &(unit,)).await?;
        Ok(processes.into_iter().map(|(_, pid, _)| pid).collect())
    }

    /// The properties of a service; a unit without a file has properties too.
    pub(super) async fn service(&self, unit: &str) -> Result<Properties, ManagerError> {
        let path: OwnedObjectPath = self.call("LoadUnit", unit, &(unit,)).await?;
        let connection = self.connection().await?;
        let read = within("GetAll", CALL_DEADLINE, async {
            let properties = Proxy::new(&connection, DESTINATION, path, "org.freedesktop.DBus.Properties").await?;
            // The properties of all interfaces in one call, as `systemctl show` does: with separate calls, a starting
            // unit could have the process of a run whose invocation id it does not show yet.
            Ok(Properties(properties.call("GetAll", &("",)).await?))
        });
        read.await?.map_err(|error: zbus::Error| refused("GetAll", unit, &error))
    }

    /// A separate connection for listening to signals.
    pub(super) async fn listener() -> Result<Connection, ManagerError> {
        connect().await
    }

    async fn call<B, R>(&self, method: &'static str, subject: &str, body: &B) -> Result<R, ManagerError>
    where
        B: Serialize + DynamicType + Sync,
        R: DeserializeOwned + Type,
    {
        self.call_within(method, subject, body, CALL_DEADLINE).await
    }

    async fn call_within<B, R>(
        &self,
        method: &'static str,
        subject: &str,
        body: &B,
        deadline: Duration,
    ) -> Result<R, ManagerError>
    where
        B: Serialize + DynamicType + Sync,
        R: DeserializeOwned + Type,
    {
        let connection = self.connection().await?;
        let called = within(method, deadline, async {
            let answer = connection.call_method(Some(DESTINATION), PATH, Some(MANAGER), method, body).await?;
            answer.body().deserialize::<R>()
        });
        let called = async { called.await?.map_err(|error| refused(method, subject, &error)) };
        step_async(Point::SystemdCall, unreachable, Box::pin(called)).await
    }

    /// The connection; reconnects if the bus went away.
    async fn connection(&self) -> Result<Connection, ManagerError> {
        let mut cached = self.connection.lock().await;
        if let Some(connection) = cached.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let connection = connect().await?;
        *cached = Some(connection.clone());
        Ok(connection)
    }
}

impl Job {
    /// Waits until the job has ended. May be called again after the deadline has passed.
    pub(super) async fn done(&mut self, deadline: Duration) -> Result<(), ManagerError> {
        let over = within("JobRemoved", deadline, async {
            while let Some(signal) = self.removed.next().await {
                let body = signal.body();
                let Ok((_, path, _, result)) = body.deserialize::<(u32, OwnedObjectPath, String, String)>() else {
                    continue;
                };
                // The signal comes for all jobs, also those of slices.
                if path == self.path {
                    return Some(result);
                }
            }
            None
        });
        match over.await? {
            Some(result) if result == "done" || result == "skipped" => Ok(()),
            Some(result) => Err(ManagerError::Job { unit: self.unit.clone(), result }),
            None => Err(ManagerError::Unreachable("the connection was closed".to_owned())),
        }
    }
}

impl Properties {
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(|value| <&str>::try_from(&**value).ok()).unwrap_or_default()
    }

    pub(super) fn number<T>(&self, name: &str) -> T
    where
        T: Default + for<'a> TryFrom<&'a Variant<'a>>,
    {
        self.0.get(name).and_then(|value| T::try_from(&**value).ok()).unwrap_or_default()
    }

    /// The invocation id (a run of the unit), in hexadecimal; empty if the unit never ran.
    pub(super) fn invocation(&self) -> String {
        let bytes = self.0.get("InvocationID").and_then(|value| value.try_clone().ok());
        let bytes = bytes.and_then(|value| Vec::<u8>::try_from(value).ok()).unwrap_or_default();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

async fn connect() -> Result<Connection, ManagerError> {
    let connected = within("Subscribe", CALL_DEADLINE, async {
        let connection = Connection::system().await?;
        // Without a subscription systemd sends no signals about jobs.
        connection.call_method(Some(DESTINATION), PATH, Some(MANAGER), "Subscribe", &()).await?;
        Ok(connection)
    });
    connected.await?.map_err(|error: zbus::Error| ManagerError::Unreachable(error.to_string()))
}

async fn manager(connection: &Connection) -> zbus::Result<Proxy<'static>> {
    Proxy::new(connection, DESTINATION, PATH, MANAGER).await
}

async fn within<T>(method: &'static str, deadline: Duration, work: impl Future<Output = T>) -> Result<T, ManagerError> {
    tokio::time::timeout(deadline, work).await.map_err(|_| ManagerError::Timeout { method, deadline })
}

/// The error for a failed connection.
fn unreachable(error: io::Error) -> ManagerError {
    ManagerError::Unreachable(error.to_string())
}

fn refused(method: &'static str, subject: &str, error: &zbus::Error) -> ManagerError {
    match error {
        zbus::Error::MethodError(name, why, _) => ManagerError::Refused {
            method,
            subject: subject.to_owned(),
            why: why.clone().unwrap_or_else(|| name.to_string()),
            name: name.to_string(),
        },
        other => ManagerError::Unreachable(other.to_string()),
    }
}
