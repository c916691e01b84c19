//! Names and unit files of instances.

use super::UnitFile;
use crate::process::folder::Plan;
use gapless_core::{EnvName, InstanceName, PlacementId};
use std::path::Path;

const SUFFIX: &str = ".service";
/// The line in the unit file of an instance that starts at boot.
const COMES_BACK: &str = "Restart=always";

/// The unit of an instance: `shop-blue@9001.service`. The port makes the name unique on this host; the environment
/// (unless `production`) and the service (unless it is the only one) follow the application, as in
/// `shop.test.api-blue@9003.service`.
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

/// The port in the name of a unit, if the unit could be an instance's.
pub(super) fn port(unit: &str) -> Option<u16> {
    unit.strip_suffix(SUFFIX)?.rsplit_once('@')?.1.parse().ok()
}

/// The unit in that file is restarted and starts at boot.
pub(super) fn starts_at_boot(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.lines().any(|line| line == COMES_BACK))
}

/// The first line of a unit file: gapless wrote it for the instance in `folder`.
fn mark(folder: &Path) -> String {
    format!("Written by gapless for {}: it replaces and removes it.", folder.display())
}

/// The file of the unit exists and is not that of the instance in `folder`.
pub(super) fn is_others(path: &Path, folder: &Path) -> bool {
    let mark = format!("# {}", mark(folder));
    std::fs::read_to_string(path).is_ok_and(|text| text.lines().next() != Some(&mark))
}

/// The unit file of an instance whose plan is in `folder`.
pub(super) fn file(plan: &Plan, folder: &Path, starts_at_boot: bool) -> UnitFile {
    let words = [plan.program.to_string_lossy().into_owned()].into_iter().chain(plan.arguments.iter().cloned());
    let file = UnitFile::new(&mark(folder))
        .section("Unit")
        .set("Description", format!("{} by gapless", plan.name))
        .set("After", "network.target")
        .because("A shutdown stops the server first; otherwise the server would see the instance as dead.")
        .set("Before", "gapless.service")
        .section("Service")
        .set("Type", "exec")
        .command("ExecStart", words)
        .set("WorkingDirectory", plan.directory.display())
        .because("Not in this file, which every user may read.")
        .set("EnvironmentFile", folder.join("environment").display())
        .set_some("User", plan.user.as_ref())
        .because("Distinguishes its output from that of an earlier deployment in this slot.")
        .set("SyslogIdentifier", &plan.name)
        .because("Keeps the exit status after the end.")
        .set("RemainAfterExit", "yes");
    let file = if starts_at_boot {
        file.set("Restart", "always").set("RestartSec", "100ms")
    } else {
        file.set("Restart", "no")
    };
    let limits = &plan.resources;
    file.because("gapless kills the unit earlier, when its drain deadline has passed.")
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
