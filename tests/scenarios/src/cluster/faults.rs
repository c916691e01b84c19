//! Injects faults and ends them.

use super::members::Members;
use super::network::{MACHINES, Network, peer_address, server_address};
use super::schedule::{Fault, Kind};
use super::servers::Servers;
use rustix::process::Signal;

/// An active fault.
#[derive(Debug, Clone, Copy)]
pub(super) struct ActiveFault {
    /// The kind.
    pub(super) kind: Kind,
    /// The number of the affected server or member.
    pub(super) number: usize,
}

/// The target of the faults.
pub(super) struct Cluster<'a> {
    pub(super) network: &'a Network,
    pub(super) members: Members<'a>,
    pub(super) servers: Servers,
    /// The active faults.
    pub(super) active: Vec<ActiveFault>,
}

impl Cluster<'_> {
    /// Injects a fault; returns `None` if every possible target already has a fault.
    pub(super) fn begin(&mut self, fault: &Fault, leader: Option<usize>) -> Option<ActiveFault> {
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
        let done = ActiveFault { kind, number };
        self.change(done, true);
        self.active.push(done);
        Some(done)
    }

    /// Ends a fault.
    pub(super) fn end(&mut self, done: ActiveFault) {
        self.active.retain(|other| (other.kind, other.number) != (done.kind, done.number));
        self.change(done, false);
    }

    /// Returns whether neither the server nor the member of this number has a fault that would interfere.
    fn is_well(&self, kind: Kind, number: usize) -> bool {
        let of_machine = |kind| matches!(kind, Kind::CutMachine | Kind::CutLeadersMachine);
        self.active.iter().all(|done| {
            let meets = done.kind.is_of_server() == kind.is_of_server() || of_machine(done.kind) || of_machine(kind);
            done.number != number || !meets
        })
    }

    fn change(&mut self, ActiveFault { kind, number }: ActiveFault, begins: bool) {
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

    /// Cuts or restores the connections between a server and members.
    fn cut_server(&self, number: usize, begins: bool, members: impl IntoIterator<Item = usize>) {
        for member in members {
            self.network.cut(member, &server_address(number), begins);
        }
    }

    /// Cuts or restores the connections between a member and the other members.
    fn cut_member(&self, number: usize, begins: bool) {
        for other in (1..=MACHINES).filter(|other| *other != number) {
            self.network.cut(number, &peer_address(other), begins);
        }
    }
}
