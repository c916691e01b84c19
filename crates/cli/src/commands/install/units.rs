//! The units of gapless itself, with the reasons for what is in them.

use gapless_runtime::systemd::{BadValue, UnitFile};
use std::net::SocketAddr;
use std::path::Path;

/// The control plane.
pub const SERVER: &str = "gapless.service";
/// The data plane: a unit of its own, so that stopping the server stops nothing else.
pub const PROXY: &str = "gapless-proxy.service";
/// What the data plane listens on.
pub const SOCKET: &str = "gapless-proxy.socket";
/// Says that gapless wrote the file, and may write it anew.
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

fn begun(description: &str) -> UnitFile {
    let comment = format!("{MARK}, which replaces it; changes of your own belong into a drop-in: `systemctl edit`.");
    UnitFile::new(&comment).section("Unit").set("Description", description)
}

fn socket(listen: &[SocketAddr]) -> UnitFile {
    let file = begun("The sockets of the gapless proxy").section("Socket");
    let file = listen.iter().fold(file, |file, address| file.set("ListenStream", address));
    file.set("BindIPv6Only", "both")
        .because("Connections that wait while the proxy is started again.")
        .set("Backlog", gapless_proxy::handover::BACKLOG)
        .because("However often the proxy starts: giving up would close the sockets.")
        .set("TriggerLimitIntervalSec", 0)
        .section("Install")
        .set("WantedBy", "sockets.target")
}

fn proxy(program: &str) -> UnitFile {
    let file = begun("gapless proxy: carries requests")
        .set("Requires", SOCKET)
        .set("After", format!("{SOCKET} network.target"))
        .because("However often it starts: giving up would close the sockets.")
        .set("StartLimitIntervalSec", 0)
        .section("Service")
        .set("Type", "notify")
        .command("ExecStart", [program, "proxy", "--control-socket", CONTROL_SOCKET, "--table-file", TABLE_FILE])
        .because("Another process takes its place, and says so; it finishes what it has.")
        .privileged_command("ExecReload", [program, "upgrade", "--only=proxy"])
        .set("NotifyAccess", "all")
        .set("WatchdogSec", "30s")
        .set("Restart", "always")
        .set("RestartSec", "100ms")
        .because("What is in flight is finished; new connections wait in the sockets meanwhile.")
        .set("TimeoutStopSec", "10s")
        .set("LimitNOFILE", 1_048_576)
        .because("Half of its memory at rest.")
        .set("Environment", "MIMALLOC_ALLOW_THP=0")
        .because("A user of its own, which owns its table and its control socket and nothing else.")
        .set("DynamicUser", "yes")
        .set("StateDirectory", "gapless-proxy")
        .set("StateDirectoryMode", "0700")
        .set("RuntimeDirectory", "gapless-proxy")
        .set("RuntimeDirectoryMode", "0700")
        .set("UMask", "0077")
        .because("It binds nothing itself, and needs no privilege.")
        .set("CapabilityBoundingSet", "")
        .set("AmbientCapabilities", "")
        .set("SystemCallFilter", "@system-service")
        .set("SystemCallFilter", "~@privileged @resources")
        .because("It raises its limit of open files, and its cores are threads.")
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
    let file = begun("gapless server: deploys")
        .set("Wants", PROXY)
        .set("After", format!("{PROXY} network.target dbus.service docker.service"))
        .section("Service")
        .set("Type", "notify")
        .command("ExecStart", words)
        .because("The same process, with what is at the program's place now.")
        .privileged_command("ExecReload", [program, "upgrade", "--only=server"])
        .set("WatchdogSec", "60s")
        .set("Restart", "on-failure")
        .set("RestartSec", "1s")
        .because("Instances outlive the server.")
        .set("KillMode", "process")
        .set("StateDirectory", "gapless")
        .set("StateDirectoryMode", "0700")
        .set("RuntimeDirectory", "gapless")
        .because("Process instances inherit what is below: it forbids what an application has no need of.")
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

/// What neither of them ever does.
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
    fn the_server_neither_stops_the_proxy_nor_starts_one() {
        let listen = ["0.0.0.0:80".parse().unwrap(), "[::]:80".parse().unwrap()];
        let [(_, socket), (_, proxy), (_, server)] = all(Path::new("/usr/bin/gapless"), &listen).unwrap();
        assert!(socket.contains("ListenStream=0.0.0.0:80\nListenStream=[::]:80\n"), "{socket}");
        assert!(server.contains("Wants=gapless-proxy.service") && !server.contains("Requires="), "{server}");
        assert!(server.contains("KillMode=process") && server.contains("\"--proxy-socket\""), "{server}");
        assert!(!proxy.contains("PartOf=") && !proxy.contains("BindsTo="), "{proxy}");
        assert!([&socket, &proxy, &server].iter().all(|text| text.contains(MARK)));
    }
}
