//! Two applications on a host whose Engine dies, with constant requests to both: each answer must come from the right
//! one.

use gapless_api::{ApplicationView, SlotState};
use gapless_core::Deployment;
use gapless_harness::deps::docker::OwnEngine;
use gapless_harness::{App, Gapless, Host, Runtime, free_port, get, image};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The applications; each has a service of its name, which every answer names.
pub(super) const APPS: [&str; 2] = ["left", "right"];
/// The maximum time until everything is consistent.
const SETTLE_DEADLINE: Duration = Duration::from_secs(90);
/// The interval of requests to each application.
const ASK_EVERY: Duration = Duration::from_millis(4);
/// The maximum wait for a number of answers: without instances each answer may take seconds.
const ANSWERS_WITHIN: Duration = Duration::from_secs(6);

/// The host, its Engine, and the two applications.
pub(super) struct Pair {
    // In this order: the host ends before the Engine that it uses.
    pub(super) host: Host,
    pub(super) engine: OwnEngine,
}

impl Pair {
    pub(super) fn new() -> Pair {
        let engine = OwnEngine::start(&[&image()]);
        let mut host = Host::prepared(SocketAddr::from(([127, 0, 0, 1], free_port())));
        host.starter(&["env", &format!("DOCKER_HOST={}", engine.host())]);
        host.start_server();
        let pair = Pair { host, engine };
        for app in APPS {
            pair.write(app, "1s");
            pair.gapless(app).ok(["deploy"]);
        }
        pair
    }

    /// Writes the configuration for the next deployment of an application.
    pub(super) fn write(&self, app: &str, observe: &str) {
        let deploy = format!("observe = \"{observe}\"\nkeep_warm = \"10m\"\npark = true\nprepare_timeout = \"15s\"\n");
        let tables = format!("[services.{app}]\npath = \"/\"\nport = 9000\n");
        let app = App { hosts: vec![host_of(app)], deploy, tables, ..App::new(app, Runtime::Docker) };
        app.write(self.host.folder());
    }

    /// Writes a configuration with another image for the next deployment of an application.
    pub(super) fn write_image(&self, app: &str, other: &str) {
        self.write(app, "1s");
        let file = self.host.folder().join(app).join("gapless.toml");
        let text = std::fs::read_to_string(&file).expect("the file was written");
        std::fs::write(&file, text.replace(&image(), other)).expect("the file can be written");
    }

    pub(super) fn gapless(&self, app: &str) -> Gapless {
        self.host.gapless().within(&self.host.folder().join(app))
    }

    pub(super) fn view(&self, app: &str) -> Option<ApplicationView> {
        let ran = self.gapless(app).run(["status", "--json"]);
        let views: Vec<ApplicationView> = serde_json::from_str(&ran.stdout).unwrap_or_default();
        views.into_iter().find(|view| view.app.as_str() == app)
    }

    pub(super) fn latest(&self, app: &str) -> Option<Deployment> {
        self.gapless(app).latest_if_any()
    }

    /// The containers of the live slots, with their addresses according to the Engine.
    pub(super) fn addresses(&self) -> BTreeMap<String, String> {
        let format = "{{(index .NetworkSettings.Networks \"gapless\").IPAddress}}";
        let live = APPS.into_iter().flat_map(|app| self.live(app));
        live.map(|name| {
            (name.clone(), self.engine.docker(&["inspect", "--format", format, &name]).stdout.trim().to_owned())
        })
        .collect()
    }

    /// The containers of an application's live slot.
    pub(super) fn live(&self, app: &str) -> Vec<String> {
        let slots = self.view(app).map(|view| view.slots).unwrap_or_default();
        let live = slots.into_iter().filter(|slot| slot.state == SlotState::Live);
        live.flat_map(|slot| slot.instances).map(|instance| instance.name).collect()
    }

    /// Waits until both applications are consistent, and returns the problems at the deadline.
    pub(super) fn settle(&self) -> Vec<String> {
        let give_up_at = Instant::now() + SETTLE_DEADLINE;
        loop {
            let wrong: Vec<String> = APPS.into_iter().filter_map(|app| self.wrong(app)).collect();
            if wrong.is_empty() || Instant::now() >= give_up_at {
                return wrong;
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    fn wrong(&self, app: &str) -> Option<String> {
        let Some(view) = self.view(app) else { return Some(format!("the server does not list {app}")) };
        if view.active.is_some() || !view.queue.is_empty() || !view.planes_behind.is_empty() {
            return Some(format!("{app}: active {:?}, behind {:?}", view.active, view.planes_behind));
        }
        let live: Vec<_> = view.slots.iter().filter(|slot| slot.state == SlotState::Live).collect();
        let [live] = live.as_slice() else { return Some(format!("{app}: {} live slots", live.len())) };
        if live.instances.iter().any(|instance| !instance.in_rotation) {
            return Some(format!("{app}: not all instances are in rotation"));
        }
        match ask(self.host.address(), app) {
            Answered::Right => None,
            other => Some(format!("{app}: {other:?}")),
        }
    }
}

fn host_of(app: &str) -> String {
    format!("{app}.example")
}

/// The source of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answered {
    Right,
    /// Another application or a foreign container.
    Wrong(String),
    /// gapless itself, or no answer.
    Nobody(Option<u16>),
}

fn ask(address: SocketAddr, app: &str) -> Answered {
    let Some((status, answer)) = get(address, "/up", &format!("Host: {}\r\n", host_of(app))) else {
        return Answered::Nobody(None);
    };
    let service = answer.lines().find_map(|line| line.strip_prefix("x-service: ")).map(str::trim);
    match service {
        Some(service) if service == app && status == 200 => Answered::Right,
        Some(service) if service != app => Answered::Wrong(format!("{service} answers for {app}")),
        _ => Answered::Nobody(Some(status)),
    }
}

/// Constant requests to both applications.
pub(super) struct Probes {
    is_over: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Vec<(Instant, Instant, Answered)>>>,
}

/// The answers.
#[derive(Debug, Default)]
pub(super) struct ProbeReport {
    pub(super) requests: u64,
    pub(super) wrong: Vec<String>,
    /// Requests without an answer of an instance: the times of sending and giving up, and the status.
    pub(super) unanswered: Vec<(Instant, Instant, String)>,
}

impl Probes {
    pub(super) fn start(address: SocketAddr) -> Probes {
        let (is_over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = APPS.map(|app| {
            let (is_over, count) = (is_over.clone(), count.clone());
            std::thread::spawn(move || {
                let mut answers = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let sent = Instant::now();
                    let answered = ask(address, app);
                    answers.push((sent, Instant::now(), answered));
                    count.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(ASK_EVERY.saturating_sub(sent.elapsed()));
                }
                answers
            })
        });
        Probes { is_over, count, threads: threads.into() }
    }

    /// Waits until so many more requests have finished, up to [`ANSWERS_WITHIN`].
    pub(super) fn wait_for_answers(&self, count: u64) {
        let from = self.count.load(Ordering::Relaxed);
        let give_up_at = Instant::now() + ANSWERS_WITHIN;
        while self.count.load(Ordering::Relaxed) < from + count && Instant::now() < give_up_at {
            std::thread::sleep(ASK_EVERY);
        }
    }

    pub(super) fn stop(self) -> ProbeReport {
        self.is_over.store(true, Ordering::Relaxed);
        let mut probed = ProbeReport::default();
        for thread in self.threads {
            for (sent, ended, answered) in thread.join().expect("the probe thread ends") {
                probed.requests += 1;
                match answered {
                    Answered::Right => {}
                    Answered::Wrong(what) => probed.wrong.push(what),
                    Answered::Nobody(status) => probed.unanswered.push((sent, ended, format!("{status:?}"))),
                }
            }
        }
        probed
    }
}
