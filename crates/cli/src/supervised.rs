//! What systemd is told of a server or proxy that runs under it (sd_notify(3)): that it is ready, goes on, or ends.

use sd_notify::NotifyState;
use std::future::Future;
use std::time::Duration;

/// How often a process that is starting is asked whether it answers yet.
const START_POLL: Duration = Duration::from_millis(20);
/// How often its status is told where no watchdog asks for more.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How many times within the watchdog's time it is told that the process goes on.
const TOLD_PER_WATCHDOG: u32 = 4;

/// What a process says of itself.
pub struct Told {
    /// A line for `systemctl status`.
    pub status: String,
    /// Whether it is ending.
    pub is_ending: bool,
}

/// Tells systemd from now on how this process is, for as long as it is: `ask` asks it over its own socket, as anybody
/// would, so that the watchdog is fed only by a process that answers. Nothing happens where systemd did not start it.
pub fn begin<F: Future<Output = Option<Told>>>(ask: impl Fn() -> F + Send + 'static) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let begun = std::thread::Builder::new().name("supervised".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(tell(ask)),
            Err(error) => tracing::error!(%error, "systemd cannot be told how this process is"),
        }
    });
    if let Err(error) = begun {
        tracing::error!(%error, "systemd cannot be told how this process is");
    }
}

/// Tells systemd that this process ends because it was told to.
pub fn ends() {
    if std::env::var_os("NOTIFY_SOCKET").is_some()
        && let Err(error) = sd_notify::notify(&[NotifyState::Stopping])
    {
        tracing::warn!(%error, "systemd cannot be told that this process ends");
    }
}

async fn tell<F: Future<Output = Option<Told>>>(ask: impl Fn() -> F) {
    let pause = sd_notify::watchdog_enabled().map_or(TELL_EVERY, |within| within / TOLD_PER_WATCHDOG);
    let mut was_ready = false;
    loop {
        let Some(told) = ask().await else {
            tokio::time::sleep(if was_ready { pause } else { START_POLL }).await;
            continue;
        };
        let mut states = vec![NotifyState::Watchdog, NotifyState::Status(&told.status)];
        if !was_ready {
            // It may have taken the place of the one that systemd knows.
            states.extend([NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
            was_ready = true;
        }
        if told.is_ending {
            states.push(NotifyState::Stopping);
        }
        if let Err(error) = sd_notify::notify(&states) {
            tracing::warn!(%error, "systemd cannot be told how this process is");
        }
        tokio::time::sleep(pause.min(TELL_EVERY)).await;
    }
}
