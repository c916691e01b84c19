//! The notifications of a server or proxy to systemd (sd_notify(3)): ready, alive, stopping, and a status line.

use sd_notify::NotifyState;
use std::future::Future;
use std::time::Duration;

/// The interval between two checks of a starting process.
const START_POLL: Duration = Duration::from_millis(20);
/// The longest interval between two notifications.
const NOTIFY_EVERY: Duration = Duration::from_secs(10);
/// The number of notifications within the watchdog's time.
const NOTIFICATIONS_PER_WATCHDOG: u32 = 4;

/// The status of a process, as it answers on its own socket.
pub struct ProcessStatus {
    /// A line for `systemctl status`.
    pub status: String,
    /// The process is ending.
    pub is_ending: bool,
}

/// Notifies systemd of the status of this process from now on. `ask` gets the status over the process's own socket, as
/// any client would, so that only a process that answers feeds the watchdog. Does nothing if systemd did not start the
/// process.
pub fn start<F: Future<Output = Option<ProcessStatus>>>(ask: impl Fn() -> F + Send + 'static) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let started = std::thread::Builder::new().name("supervised".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(notify(ask)),
            Err(error) => tracing::error!(%error, "systemd notifications cannot start"),
        }
    });
    if let Err(error) = started {
        tracing::error!(%error, "systemd notifications cannot start");
    }
}

/// Notifies systemd that this process is stopping on request.
pub fn stopping() {
    if std::env::var_os("NOTIFY_SOCKET").is_some()
        && let Err(error) = sd_notify::notify(&[NotifyState::Stopping])
    {
        tracing::warn!(%error, "notifying systemd of the stop failed");
    }
}

async fn notify<F: Future<Output = Option<ProcessStatus>>>(ask: impl Fn() -> F) {
    let pause = sd_notify::watchdog_enabled().map_or(NOTIFY_EVERY, |within| within / NOTIFICATIONS_PER_WATCHDOG);
    let mut was_ready = false;
    loop {
        let Some(process) = ask().await else {
            tokio::time::sleep(if was_ready { pause } else { START_POLL }).await;
            continue;
        };
        let mut states = vec![NotifyState::Watchdog, NotifyState::Status(&process.status)];
        if !was_ready {
            // This process may have replaced the one that systemd knows.
            states.extend([NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
            was_ready = true;
        }
        if process.is_ending {
            states.push(NotifyState::Stopping);
        }
        if let Err(error) = sd_notify::notify(&states) {
            tracing::warn!(%error, "notifying systemd of the status failed; retrying");
        }
        tokio::time::sleep(pause.min(NOTIFY_EVERY)).await;
    }
}
