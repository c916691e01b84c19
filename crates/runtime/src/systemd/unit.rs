//! The unit of an instance.

use super::UnitFile;
use crate::process::folder::Plan;
use gapless_core::{EnvName, InstanceName, PlacementId};
use std::path::Path;

const SUFFIX: &str = ".service";
/// In the unit of an instance that comes back.
const COMES_BACK: &str = "Restart=always";

/// The unit of an instance: `shop-blue@9001.service`. Its port makes the name one on this host; an environment that is not
/// `production` and a service that is not the only one stand behind the application, as in `shop.test.api-blue@9003.service`.
pub(super) fn name(plan: &Plan) -> String {
    let InstanceName { placement: PlacementId { key, slot, .. }, service, .. } = &plan.name;
    let mut of = key.app.to_string();
    if key.env != EnvName::default() || !service.is_default() {
        of = format!("{of}.{}", key.env);
    }
    if !service.is_default() {
        of = format!("{of}.{service}");
    }
    format!("{of}-{slot}@{}{SUFFIX}", plan.port)
}

/// The port in the name of that unit, where it could be an instance's.
pub(super) fn port(unit: &str) -> Option<u16> {
    unit.strip_suffix(SUFFIX)?.rsplit_once('@')?.1.parse().ok()
}

/// Whether the unit in that file comes back by itself.
pub(super) fn comes_back(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.lines().any(|line| line == COMES_BACK))
}

/// Says that gapless wrote the file, and which one, for the instance in `folder`.
fn mark(folder: &Path) -> String {
    format!("Written by gapless for {}: it replaces and removes it.", folder.display())
}

/// Whether there is a file of that unit that is not the one of the instance in `folder`.
pub(super) fn is_others(path: &Path, folder: &Path) -> bool {
    let mark = format!("# {}", mark(folder));
    std::fs::read_to_string(path).is_ok_and(|text| text.lines().next() != Some(&mark))
}

/// The unit file of an instance of which the plan is in `folder`.
pub(super) fn file(plan: &Plan, folder: &Path, comes_back: bool) -> UnitFile {
    let words = [plan.program.to_string_lossy().into_owned()].into_iter().chain(plan.arguments.iter().cloned());
    let file = UnitFile::new(&mark(folder))
        .section("Unit")
        .set("Description", format!("{} by gapless", plan.name))
        .set("After", "network.target")
        .because("A machine that goes down ends the server first: it would take the instance for dead.")
        .set("Before", "gapless.service")
        .section("Service")
        .set("Type", "exec")
        .command("ExecStart", words)
        .set("WorkingDirectory", plan.directory.display())
        .because("Not in this file, which everybody may read.")
        .set("EnvironmentFile", folder.join("environment").display())
        .set_some("User", plan.user.as_ref())
        .because("By which its output is told from that of an earlier deployment in this slot.")
        .set("SyslogIdentifier", &plan.name)
        .because("How it ended stays known.")
        .set("RemainAfterExit", "yes");
    let file =
        if comes_back { file.set("Restart", "always").set("RestartSec", "100ms") } else { file.set("Restart", "no") };
    let limits = &plan.resources;
    file.because("gapless itself kills it sooner, when its time to drain has passed.")
        .set("TimeoutStopSec", "300s")
        .set_some("MemoryMax", limits.memory_bytes)
        .set_some("MemorySwapMax", limits.memory_bytes.map(|_| 0))
        .percent("CPUQuota", limits.cpu_millis.map(|millis| millis.div_ceil(10)))
        .set("NoNewPrivileges", "yes")
        .set("ProtectSystem", "full")
        .set("ProtectKernelTunables", "yes")
        .set("ProtectKernelModules", "yes")
        .set("ProtectKernelLogs", "yes")
        .set("ProtectControlGroups", "yes")
        .set("RestrictSUIDSGID", "yes")
        .set("LockPersonality", "yes")
        .section("Install")
        .set("WantedBy", "multi-user.target")
}
