//! The status of an instance, from the properties of its unit.

use super::manager::Properties;
use crate::process::folder::Plan;
use crate::{Exit, InstanceState, InstanceStatus};
use gapless_core::Timestamp;
use std::net::{Ipv4Addr, SocketAddr};

/// `ExecMainCode` of a process that exited (waitid(2), `CLD_EXITED`); the other codes mean a signal.
const EXITED: i32 = 1;

/// The status of the instance of that plan.
pub(super) fn of(plan: &Plan, unit: &Properties) -> InstanceStatus {
    let at = |name: &str| Timestamp(unit.number::<u64>(name) / 1000);
    let since = at("ExecMainStartTimestamp");
    let has_ended = unit.number::<u64>("ExecMainExitTimestamp") != 0;
    let state = match (unit.number::<u32>("MainPID"), unit.text("FreezerState")) {
        (0, _) if has_ended => InstanceState::Exited(Exit {
            code: Some(code(unit.number("ExecMainCode"), unit.number("ExecMainStatus"))),
            out_of_memory: unit.text("Result") == "oom-kill",
            at: at("ExecMainExitTimestamp"),
        }),
        // Also after a reboot, if the unit is not enabled.
        (0, _) => InstanceState::Created,
        (_, "frozen" | "freezing") => InstanceState::Frozen { since },
        _ => InstanceState::Running { address: SocketAddr::from((Ipv4Addr::LOCALHOST, plan.port)), since },
    };
    let restarts = unit.number::<u32>("NRestarts");
    InstanceStatus { name: plan.name.clone(), id: unit.invocation(), state, restarts }
}

fn code(how: i32, status: i32) -> i64 {
    i64::from(if how == EXITED { status } else { 128 + status })
}
