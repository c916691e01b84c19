//! `gapless render`: each documented function by the real binary, and the time from a changed key, among a hundred
//! templates on a real etcd, to the rendered, checked and reloaded file.

mod cases;

pub use cases::{Case, cases};

use gapless_harness::deps::Etcd;
use gapless_harness::{Confd, Outcome};
use rustix::fs::inotify;
use serde_json::json;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

const TEMPLATES: usize = 100;
const CHANGES: usize = 200;
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs the documented cases of each function, then measures changes among a hundred templates.
#[must_use]
pub fn scenario() -> Outcome {
    let cases = cases();
    let failed: Vec<String> = cases.iter().filter_map(|case| case.run().err()).collect();
    for failure in &failed {
        println!("{failure}");
    }
    println!("{} cases of documented functions, {} as documented", cases.len(), cases.len() - failed.len());

    let etcd = Etcd::start();
    let (tokio, mut client) = etcd.client(None);
    let mut put = |key: &str, value: &str| {
        tokio.block_on(client.put(key, value, None)).expect("etcd accepts the write");
    };
    let confd = Confd::default();
    let key = |number: usize| format!("/apps/app{number:03}/port");
    let name = |number: usize| format!("app{number:03}");
    for number in 0..TEMPLATES {
        put(&key(number), "9000");
        let upstream =
            format!("upstream {} {{\n    server 127.0.0.1:{{{{getv \"{}\"}}}};\n}}\n", name(number), key(number));
        confd.template(&name(number), &upstream);
        let reloaded = confd.path(&format!("reloaded{number:03}"));
        let commands = format!(
            "check_cmd = \"grep -q upstream {{{{.src}}}}\"\nreload_cmd = \"cat {} >{}\"",
            confd.dest(&name(number)).display(),
            reloaded.display(),
        );
        confd.resource(&name(number), &[&format!("/apps/app{number:03}")], &commands);
    }
    let reloaded = |number: usize, value: &str| {
        let text = std::fs::read_to_string(confd.path(&format!("reloaded{number:03}"))).unwrap_or_default();
        text.contains(&format!(":{value};\n}}\n"))
    };
    let mut running = confd.spawn(&["-watch", "-node", &etcd.node(), "-log-level", "debug"]);
    for number in 0..TEMPLATES {
        wait(|| reloaded(number, "9000"));
    }

    // The measured time starts when the key is sent to etcd, and ends with the reload command. It includes etcd's own
    // write to its disk, which is also measured separately.
    let mut stored = Vec::with_capacity(CHANGES);
    let mut took: Vec<f64> = (0..CHANGES)
        .map(|change| {
            let (number, value) = (change * 37 % TEMPLATES, (9001 + change).to_string());
            let began = Instant::now();
            put(&key(number), &value);
            stored.push(began.elapsed().as_secs_f64() * 1000.0);
            wait(|| reloaded(number, &value));
            began.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    took.sort_by(f64::total_cmp);
    stored.sort_by(f64::total_cmp);
    println!("{CHANGES} changes: median {:.1} ms, slowest {:.1} ms", took[CHANGES / 2], took[CHANGES - 1]);

    // Every key is written again with its present value: render notices each write, and must not write a file.
    let written = |number: usize| confd.written(&name(number)).expect("the file was rendered");
    let values: Vec<(String, String)> = (0..TEMPLATES)
        .map(|number| {
            let text = written(number);
            let value =
                text.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(';').next()).expect("the text is a port");
            (key(number), value.to_owned())
        })
        .collect();
    let writes = Writes::watch(&confd);
    // Earlier log lines must not count as reactions to the next writes.
    running.forget_lines();
    for (key, value) in &values {
        put(key, value);
    }
    for _ in 0..TEMPLATES {
        running.wait_for_line("is up to date", DEADLINE);
    }
    let unchanged_writes = writes.count();
    println!("{TEMPLATES} keys written again without a change: {unchanged_writes} writes");
    assert_eq!(running.stop(), 0);
    let figures = json!({
        "cases": cases.len(),
        "passed": cases.len() - failed.len(),
        "templates": TEMPLATES,
        "changes": CHANGES,
        "change_ms_median": round(took[CHANGES / 2]),
        "change_ms_max": round(took[CHANGES - 1]),
        "stored_ms_median": round(stored[CHANGES / 2]),
        "stored_ms_max": round(stored[CHANGES - 1]),
        "unchanged_writes": unchanged_writes,
    });
    let mut violations = failed;
    if unchanged_writes > 0 {
        violations.push(format!("{unchanged_writes} writes of files whose keys did not change"));
    }
    Outcome { figures, violations }
}

/// Polls five thousand times a second, since the measured time must be much longer than the interval.
fn wait(mut condition: impl FnMut() -> bool) {
    let give_up_at = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < give_up_at, "a change had no effect within {DEADLINE:?}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// All writes in the folder of rendered files, counted by inotify.
struct Writes {
    inotify: OwnedFd,
}

impl Writes {
    fn watch(confd: &Confd) -> Writes {
        let inotify = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)
            .expect("inotify is available");
        let what = inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::ATTRIB
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE;
        inotify::add_watch(&inotify, confd.path("out"), what).expect("the folder can be watched");
        Writes { inotify }
    }

    fn count(self) -> usize {
        let mut buffer = [MaybeUninit::uninit(); 65536];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut count = 0;
        while reader.next().is_ok() {
            count += 1;
        }
        count
    }
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
