//! Three etcd members, each in its namespace: killed, paused and started again.

use super::network::{MACHINES, Network, OWN_LINK, address, peer_address};
use etcd_client::{Client, ConnectOptions, EventType, GetOptions, WatchOptions};
use gapless_harness::wait_for;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::timeout;

const START_DEADLINE: Duration = Duration::from_secs(30);
/// The deadline of the scenario's own requests.
const ASK_DEADLINE: Duration = Duration::from_secs(2);
const HISTORY_DEADLINE: Duration = Duration::from_secs(30);
/// etcd sends many revisions in one message.
const ANSWER_BYTES_MAX: usize = 256 << 20;
const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;

/// A recorded change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The revision of the change.
    pub revision: i64,
    /// The revision at which the key was created.
    pub created: i64,
    /// The key.
    pub key: String,
    /// The value; `None` if the key was deleted.
    pub value: Option<Vec<u8>>,
}

/// The members. They are killed when this is dropped.
pub(super) struct Members<'a> {
    network: &'a Network,
    folder: PathBuf,
    processes: [Option<Child>; MACHINES],
    tokio: Runtime,
}

impl<'a> Members<'a> {
    /// Starts all members, and waits until they have a leader.
    pub(super) fn start(network: &'a Network, folder: &Path) -> Members<'a> {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio can be set up");
        let mut members = Members { network, folder: folder.to_owned(), processes: [const { None }; MACHINES], tokio };
        for member in 1..=MACHINES {
            members.spawn(member);
        }
        wait_for("etcd has a leader", START_DEADLINE, || members.leading());
        members
    }

    /// Starts a member on its data.
    pub(super) fn spawn(&mut self, member: usize) {
        let log = File::options().create(true).append(true).open(self.folder.join(format!("etcd{member}.log")));
        let log = log.expect("a log can be written");
        let peer = |member| format!("http://{}:{PEER_PORT}", peer_address(member));
        let cluster: Vec<_> = (1..=MACHINES).map(|member| format!("etcd{member}={}", peer(member))).collect();
        let mut command = self.network.command(member, "etcd");
        command
            .args(["--name", &format!("etcd{member}"), "--log-level", "warn", "--logger", "zap"])
            .arg("--data-dir")
            .arg(self.folder.join(format!("etcd{member}")))
            .args(["--listen-client-urls", &format!("http://0.0.0.0:{CLIENT_PORT}")])
            .args(["--advertise-client-urls", &endpoint(OWN_LINK, member)])
            .args(["--listen-peer-urls", &peer(member), "--initial-advertise-peer-urls", &peer(member)])
            .args(["--initial-cluster", &cluster.join(",")])
            // The default of etcd 3.5: a returning member does not cause an election.
            .arg("--pre-vote")
            .stdout(log.try_clone().expect("a file can be opened twice"))
            .stderr(log);
        self.processes[member - 1] = Some(command.spawn().expect("etcd can be run: install etcd-server"));
    }

    /// Kills a member with SIGKILL; its data stays.
    pub(super) fn kill(&mut self, member: usize) {
        if let Some(mut process) = self.processes[member - 1].take() {
            process.kill().expect("etcd can be killed");
            process.wait().expect("etcd can be waited for");
        }
    }

    /// Sends a member a signal, such as SIGSTOP or SIGCONT.
    pub(super) fn signal(&self, member: usize, signal: Signal) {
        let process = self.processes[member - 1].as_ref().expect("the process runs");
        kill_process(Pid::from_child(process), signal).expect("the process can be signalled");
    }

    /// The leading member, if a member reports itself as leader.
    pub(super) fn leading(&self) -> Option<usize> {
        (1..=MACHINES).find(|member| {
            let asked = self.ask(&[*member], |client| async move {
                let status = client.maintenance_client().status().await?;
                Ok(status.leader() != 0 && Some(status.leader()) == status.header().map(|header| header.member_id()))
            });
            asked.unwrap_or(false)
        })
    }

    /// The value of a key, if etcd answers.
    pub(super) fn get(&self, key: &str) -> Option<Vec<u8>> {
        let all: Vec<_> = (1..=MACHINES).collect();
        let got = self.ask(&all, |client| async move { client.kv_client().get(key, None).await })?;
        got.kvs().first().map(|kv| kv.value().to_vec())
    }

    /// Every change below a prefix since revision 1, in order.
    pub(super) fn history(&self, prefix: &'static str) -> Vec<Change> {
        let read = async {
            let endpoints: Vec<_> = (1..=MACHINES).map(|member| endpoint(OWN_LINK, member)).collect();
            let client = Client::connect(endpoints, Some(options())).await?;
            let newest =
                client.kv_client().get(prefix, Some(GetOptions::new().with_prefix().with_count_only())).await?;
            let newest = newest.header().map_or(0, |header| header.revision());
            let mut watch = client.watch_client().max_decoding_message_size(ANSWER_BYTES_MAX);
            let from = WatchOptions::new().with_prefix().with_start_revision(1);
            let mut stream = watch.watch(prefix, Some(from)).await?;
            let mut changes: Vec<Change> = Vec::new();
            // The marker proves that everything before it was sent.
            let marker = format!("{prefix}scenario");
            client.kv_client().put(marker.clone(), "", None).await?;
            while let Some(answer) = stream.message().await? {
                for event in answer.events() {
                    let Some(kv) = event.kv() else { continue };
                    let key = String::from_utf8_lossy(kv.key()).into_owned();
                    if key == marker && kv.mod_revision() > newest {
                        return Ok(changes);
                    }
                    let value = (event.event_type() == EventType::Put).then(|| kv.value().to_vec());
                    changes.push(Change { revision: kv.mod_revision(), created: kv.create_revision(), key, value });
                }
            }
            Err(etcd_client::Error::WatchError("the watch ended".to_owned()))
        };
        let read = self.tokio.block_on(async { timeout(HISTORY_DEADLINE, read).await });
        read.expect("etcd answers in time").expect("etcd sends its history")
    }

    fn ask<T, F>(&self, members: &[usize], question: impl FnOnce(Client) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let endpoints: Vec<_> = members.iter().map(|member| endpoint(OWN_LINK, *member)).collect();
        let asked = async {
            let client = Client::connect(endpoints, Some(options())).await?;
            question(client).await
        };
        self.tokio.block_on(async { timeout(ASK_DEADLINE, asked).await }).ok()?.ok()
    }
}

impl Drop for Members<'_> {
    fn drop(&mut self) {
        for member in 1..=MACHINES {
            self.kill(member);
        }
    }
}

/// The address of a member for the user of this link.
pub(super) fn endpoint(link: usize, member: usize) -> String {
    format!("http://{}:{CLIENT_PORT}", address(link, member))
}

fn options() -> ConnectOptions {
    ConnectOptions::new().with_connect_timeout(Duration::from_secs(1)).with_require_leader(true)
}
