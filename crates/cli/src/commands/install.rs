//! `gapless install`: runs gapless under systemd as three units: the server, the proxy, and the proxy's listening
//! sockets. systemd owns the sockets, so that connections wait there while the proxy restarts.

mod units;

use crate::args::Install;
use crate::exit::Failure;
use gapless_runtime::systemd::{Manager, ManagerError};
use std::fs;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use units::{MARK, PROXY, SERVER, SOCKET};

/// The address that the proxy listens on by default.
const DEFAULT_LISTEN: &str = "0.0.0.0:80";
/// The folder of the administrator's unit files.
const FOLDER: &str = "etc/systemd/system";
/// The time limit for the start or stop of a unit.
const UNIT_DEADLINE: Duration = Duration::from_secs(120);

pub async fn run(args: Install) -> Result<ExitCode, Failure> {
    let program = match &args.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(Failure::other)?,
    };
    let default: Vec<SocketAddr> = DEFAULT_LISTEN.parse().into_iter().collect();
    let listen = if args.listen.is_empty() { default } else { args.listen };
    let units = units::all(&program, &listen).map_err(|error| Failure::usage(error.to_string()))?;
    let folder = args.root.join(FOLDER);
    let is_this_host = args.root == Path::new("/");
    let states = units.iter().map(|(name, text)| state(&folder.join(name), text)).collect::<Result<Vec<_>, _>>()?;
    if args.dry_run {
        for ((name, text), state) in units.iter().zip(&states) {
            let path = folder.join(name);
            match (args.uninstall, state) {
                (true, State::Missing) => println!("{} does not exist", path.display()),
                (true, _) => println!("would remove {}", path.display()),
                (false, State::Same) => println!("{} is up to date", path.display()),
                (false, _) => println!("would write {}:\n\n{text}", path.display()),
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let manager = if is_this_host { Some(Manager::default()) } else { None };
    if let Some(manager) = &manager {
        // Fails without systemd, before anything is written.
        manager.version().await.map_err(Failure::other)?;
    }
    if args.uninstall {
        return uninstall(&folder, &units, &states, manager.as_ref()).await;
    }
    let mut changed = Vec::new();
    for ((name, text), state) in units.iter().zip(states) {
        let path = folder.join(name);
        if state == State::Same {
            println!("{} is up to date", path.display());
            continue;
        }
        write(&path, text)?;
        println!("wrote {}", path.display());
        if state == State::Other {
            changed.push(*name);
        }
    }
    if let Some(manager) = manager {
        start(&manager).await.map_err(Failure::other)?;
        let listen: Vec<_> = listen.iter().map(ToString::to_string).collect();
        println!("{SERVER} and {PROXY} run, and start at boot; requests come in at {}", listen.join(", "));
    }
    if !changed.is_empty() {
        let changed = changed.join(" ");
        println!("the running units are still the old ones; when it suits, run `systemctl restart {changed}`");
    }
    Ok(ExitCode::SUCCESS)
}

async fn start(manager: &Manager) -> Result<(), ManagerError> {
    manager.reload().await?;
    manager.enable(&[SOCKET, SERVER]).await?;
    for unit in [SOCKET, PROXY, SERVER] {
        manager.start(unit, UNIT_DEADLINE).await?;
    }
    Ok(())
}

async fn uninstall(
    folder: &Path,
    units: &[(&'static str, String)],
    states: &[State],
    manager: Option<&Manager>,
) -> Result<ExitCode, Failure> {
    let existing: Vec<&str> =
        units.iter().zip(states).filter(|(_, state)| **state != State::Missing).map(|((name, _), _)| *name).collect();
    if let Some(manager) = manager.filter(|_| !existing.is_empty()) {
        for unit in [SERVER, SOCKET, PROXY].iter().filter(|unit| existing.contains(unit)) {
            manager.stop(unit, UNIT_DEADLINE).await.map_err(Failure::other)?;
        }
        manager.disable(&existing).await.map_err(Failure::other)?;
    }
    for name in &existing {
        let path = folder.join(name);
        fs::remove_file(&path).map_err(|error| unusable(&path, &error))?;
        println!("removed {}", path.display());
    }
    if let Some(manager) = manager {
        manager.reload().await.map_err(Failure::other)?;
    }
    println!(
        "instances and the records in /var/lib/gapless stay; to remove applications, too, use `gapless remove` first"
    );
    Ok(ExitCode::SUCCESS)
}

/// The state of a unit file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Missing,
    Same,
    /// An earlier version that gapless wrote.
    Other,
}

fn state(path: &Path, wanted: &str) -> Result<State, Failure> {
    match fs::read_to_string(path) {
        Ok(text) if text == wanted => Ok(State::Same),
        Ok(text) if text.contains(MARK) => Ok(State::Other),
        Ok(_) => Err(Failure::usage(format!(
            "{} exists, and gapless did not write it; move it away, and put your own settings into {}.d/own.conf",
            path.display(),
            path.display()
        ))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(State::Missing),
        Err(error) => Err(unusable(path, &error)),
    }
}

/// Writes a unit file completely or not at all.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().map(PathBuf::from).unwrap_or_default();
    let beside = path.with_extension("new");
    let written = fs::create_dir_all(&folder).and_then(|()| {
        let mut file = fs::File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        fs::File::open(&folder)?.sync_all()
    });
    written.map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::PermissionDenied => Failure::other(format!(
            "{}: {error}; run the command as root, or see the changes with --dry-run",
            path.display()
        )),
        _ => Failure::other(format!("{}: {error}", path.display())),
    }
}
