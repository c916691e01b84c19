//! The systemd units of gapless itself, with the reasons for their settings.

use gapless_runtime::systemd::{BadValue, UnitFile};
use std::net::SocketAddr;
use std::path::Path;

/// The control plane.
pub const SERVER: &str = "gapless.service";
/// The data plane: a unit of its own, so that stopping the server stops nothing else.
pub const PROXY: &str = "gapless-proxy.service";
/// The listening sockets of the data plane.
pub const SOCKET: &str = "gapless-proxy.socket";
/// Marks a file as written by gapless, which may replace it.
pub const MARK: &str = "Written by `gapless install`";

const CONTROL_SOCKET: &str = "/run/gapless-proxy/control.sock";
const TABLE_FILE: &str = "/var/lib/gapless-proxy/routes.json";

/// All units, by their names.
///
/// # Errors
/// If the path of the program cannot be written in a unit file.
pub fn all(program: &Path, listen: &[SocketAddr]) -> Result<[(&'static str, String); 3], BadValue> {
    let program = program.to_string_lossy();
    Ok([(SOCKET, socket(listen).text()?), (PROXY, proxy(&program).text()?), (SERVER, server(&program, listen).text()?)])
}

fn with_mark(description: &str) -> UnitFile {
    let comment = format!("{MARK}, which replaces it; changes of your own belong into a drop-in: `systemctl edit`.");
    UnitFile::new(&comment).section("Unit").set("Description", description)
}

fn socket(listen: &[SocketAddr]) -> UnitFile {
    let file = with_mark("The sockets of the gapless proxy").section("Socket");
    let file = listen.iter().fold(file, |file, address| file.set("ListenStream", address));
    file.set("BindIPv6Only", "both")
        .because("Connections that wait while the proxy restarts.")
        .set("Backlog", gapless_proxy::handover::BACKLOG)
        .because("No limit on starts of the proxy: reaching it would close the sockets.")
        .set("TriggerLimitIntervalSec", 0)
        .section("Install")
        .set("WantedBy", "sockets.target")
}

fn proxy(program: &str) -> UnitFile {
    let file = with_mark("gapless proxy: carries requests")
        .set("Requires", SOCKET)
        .set("After", format!("{SOCKET} network.target"))
        .because("No limit on starts: reaching it would close the sockets.")
        .set("StartLimitIntervalSec", 0)
        .section("Service")
        .set("Type", "notify")
        .command("ExecStart", [program, "proxy", "--control-socket", CONTROL_SOCKET, "--table-file", TABLE_FILE])
        .because("A successor replaces this process and says so; this process finishes its requests.")
        .privileged_command("ExecReload", [program, "upgrade", "--only=proxy"])
        .set("NotifyAccess", "all")
        .set("WatchdogSec", "30s")
        .set("Restart", "always")
        .set("RestartSec", "100ms")
        .because("Requests in flight are finished; new connections wait in the sockets meanwhile.")
        .set("TimeoutStopSec", "10s")
        .set("LimitNOFILE", 1_048_576)
        .because("Halves the memory of an idle proxy.")
        .set("Environment", "MIMALLOC_ALLOW_THP=0")
        .because("A user of its own, which owns the table and the control socket and nothing else.")
        .set("DynamicUser", "yes")
        .set("StateDirectory", "gapless-proxy")
        .set("StateDirectoryMode", "0700")
        .set("RuntimeDirectory", "gapless-proxy")
        .set("RuntimeDirectoryMode", "0700")
        .set("UMask", "0077")
        .because("The proxy binds no address itself, and needs no privilege.")
        .set("CapabilityBoundingSet", "")
        .set("AmbientCapabilities", "")
        .set("SystemCallFilter", "@system-service")
        .set("SystemCallFilter", "~@privileged @resources")
        .because("The proxy raises its limit of open files, and runs a thread on each core.")
        .set("SystemCallFilter", "setrlimit prlimit64 sched_getaffinity")
        .set("SystemCallErrorNumber", "EPERM")
        .set("PrivateUsers", "yes")
        .set("ProtectProc", "invisible")
        .set("ProcSubset", "pid")
        .set("MemoryDenyWriteExecute", "yes")
        .set("ProtectHome", "yes")
        .set("ProtectControlGroups", "yes");
    hardened(file)
        .set("ProtectSystem", "strict")
        .set("PrivateTmp", "yes")
        .set("PrivateDevices", "yes")
        .set("ProtectClock", "yes")
        .set("ProtectHostname", "yes")
        .set("RemoveIPC", "yes")
        .set("RestrictRealtime", "yes")
        .set("NoNewPrivileges", "yes")
}

fn server(program: &str, listen: &[SocketAddr]) -> UnitFile {
    let listen: Vec<_> = listen.iter().map(|address| format!("--listen={address}")).collect();
    let words = [program, "server", "--proxy-socket", CONTROL_SOCKET].into_iter().map(str::to_owned).chain(listen);
    let file = with_mark("gapless server: deploys")
        .set("Wants", PROXY)
        .set("After", format!("{PROXY} network.target dbus.service docker.service"))
        .section("Service")
        .set("Type", "notify")
        .command("ExecStart", words)
        .because("The same process executes the program now on disk.")
        .privileged_command("ExecReload", [program, "upgrade", "--only=server"])
        .set("WatchdogSec", "60s")
        .set("Restart", "on-failure")
        .set("RestartSec", "1s")
        .because("Instances outlive the server.")
        .set("KillMode", "process")
        .set("StateDirectory", "gapless")
        .set("StateDirectoryMode", "0700")
        .set("RuntimeDirectory", "gapless")
        .because("Process instances inherit these settings, which forbid only what no application needs.")
        .set(
            "CapabilityBoundingSet",
            "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_KILL CAP_SETGID CAP_SETUID CAP_NET_BIND_SERVICE",
        )
        .set("SystemCallFilter", "@system-service")
        .set("SystemCallErrorNumber", "EPERM")
        .set("ReadWritePaths", "/etc/systemd/system");
    hardened(file)
        .set("ProtectSystem", "full")
        .set("PrivateDevices", "yes")
        .set("ProtectClock", "yes")
        .set("ProtectHostname", "yes")
        .set("RestrictRealtime", "yes")
        .set("NoNewPrivileges", "yes")
        .section("Install")
        .set("WantedBy", "multi-user.target")
}

/// The restrictions of both services.
fn hardened(file: UnitFile) -> UnitFile {
    file.set("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6")
        .set("RestrictNamespaces", "yes")
        .set("RestrictSUIDSGID", "yes")
        .set("LockPersonality", "yes")
        .set("ProtectKernelTunables", "yes")
        .set("ProtectKernelModules", "yes")
        .set("ProtectKernelLogs", "yes")
        .set("SystemCallArchitectures", "native")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_unit_neither_stops_proxy_nor_starts_another() {
        let listen = ["0.0.0.0:80".parse().unwrap(), "[::]:80".parse().unwrap()];
        let [(_, socket), (_, proxy), (_, server)] = all(Path::new("/usr/bin/gapless"), &listen).unwrap();
        assert!(socket.contains("ListenStream=0.0.0.0:80\nListenStream=[::]:80\n"), "{socket}");
        assert!(server.contains("Wants=gapless-proxy.service") && !server.contains("Requires="), "{server}");
        assert!(server.contains("KillMode=process") && server.contains("\"--proxy-socket\""), "{server}");
        assert!(!proxy.contains("PartOf=") && !proxy.contains("BindsTo="), "{proxy}");
        assert!([&socket, &proxy, &server].iter().all(|text| text.contains(MARK)));
    }
}
