//! Carries faults out, and mends them.

use super::members::Members;
use super::network::{MACHINES, Network, peer_address, server_address};
use super::schedule::{Fault, Kind};
use super::servers::Servers;
use rustix::process::Signal;

/// A fault that was carried out, and on whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    /// What happened.
    pub(super) kind: Kind,
    /// The server or the member.
    pub(super) number: usize,
}

/// What faults are done to.
pub(super) struct Cluster<'a> {
    pub(super) network: &'a Network,
    pub(super) members: Members<'a>,
    pub(super) servers: Servers,
    /// What is not mended yet.
    pub(super) under: Vec<Done>,
}

impl Cluster<'_> {
    /// Carries a fault out; nothing where everyone whom it could be done to has one already.
    pub(super) fn begin(&mut self, fault: &Fault, leader: Option<usize>) -> Option<Done> {
        let kind = fault.kind;
        let wanted = match kind {
            Kind::KillLeader | Kind::PauseLeader | Kind::CutLeader | Kind::CutLeadersMachine => leader,
            Kind::KillFollower | Kind::PauseFollower if Some(fault.number) == leader => {
                Some(fault.number % MACHINES + 1)
            }
            Kind::KillEtcdLeader => self.members.leading(),
            _ => Some(fault.number),
        };
        let first = wanted.unwrap_or(fault.number);
        let number =
            (0..MACHINES).map(|step| (first - 1 + step) % MACHINES + 1).find(|number| self.is_well(kind, *number))?;
        let done = Done { kind, number };
        self.change(done, true);
        self.under.push(done);
        Some(done)
    }

    /// Mends a fault.
    pub(super) fn end(&mut self, done: Done) {
        self.under.retain(|other| (other.kind, other.number) != (done.kind, done.number));
        self.change(done, false);
    }

    /// Whether neither the server nor the member of that number has a fault that would meet this one.
    fn is_well(&self, kind: Kind, number: usize) -> bool {
        let of_machine = |kind| matches!(kind, Kind::CutMachine | Kind::CutLeadersMachine);
        self.under.iter().all(|done| {
            let meets = done.kind.is_of_server() == kind.is_of_server() || of_machine(done.kind) || of_machine(kind);
            done.number != number || !meets
        })
    }

    fn change(&mut self, Done { kind, number }: Done, begins: bool) {
        let signal = if begins { Signal::STOP } else { Signal::CONT };
        match kind {
            Kind::KillLeader | Kind::KillFollower if begins => self.servers.kill(number),
            Kind::KillLeader | Kind::KillFollower => self.servers.spawn(number),
            Kind::PauseLeader | Kind::PauseFollower => self.servers.signal(number, signal),
            Kind::KillEtcdLeader | Kind::KillMember if begins => self.members.kill(number),
            Kind::KillEtcdLeader | Kind::KillMember => self.members.spawn(number),
            Kind::PauseMember => self.members.signal(number, signal),
            Kind::CutLeader => self.cut_server(number, begins, 1..=MACHINES),
            Kind::CutLeadersMachine | Kind::CutMachine => {
                self.cut_member(number, begins);
                let others = |other: &usize| *other != number;
                self.cut_server(number, begins, (1..=MACHINES).filter(others));
                for other in (1..=MACHINES).filter(others) {
                    self.network.cut(number, &server_address(other), begins);
                }
            }
            Kind::CutMember => self.cut_member(number, begins),
            Kind::UnplugMember => self.network.plug(number, !begins),
        }
    }

    /// Between a server and members.
    fn cut_server(&self, number: usize, begins: bool, members: impl IntoIterator<Item = usize>) {
        for member in members {
            self.network.cut(member, &server_address(number), begins);
        }
    }

    /// Between a member and the other members.
    fn cut_member(&self, number: usize, begins: bool) {
        for other in (1..=MACHINES).filter(|other| *other != number) {
            self.network.cut(number, &peer_address(other), begins);
        }
    }
}
