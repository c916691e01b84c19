//! `gapless store`: exports all records to a file, and imports them.

use super::server::configured;
use crate::args::{Server, Store, StoreCommand};
use crate::exit::Failure;
use gapless_api::{Client, ClientError};
use gapless_server::backup;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub async fn run(args: Store, socket: Option<PathBuf>) -> Result<ExitCode, Failure> {
    match args.command {
        StoreCommand::Export { file, kv, server } => export(&file, &kv, server.into(), socket).await,
        StoreCommand::Import { file, force, server } => {
            let config = configured(server.into(), socket, None)?;
            let store = backup::open(&config).await.map_err(Failure::other)?;
            let imported = backup::import(store, config.prefix(), &file, force).await.map_err(Failure::other)?;
            println!("imported {} entries from {}", imported.entries, file.display());
            if imported.left > 0 {
                println!("{} keys of your own existed already and were not changed", imported.left);
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Exports from the running server, or from the store itself if no server runs.
async fn export(file: &Path, kv: &[String], server: Server, socket: Option<PathBuf>) -> Result<ExitCode, Failure> {
    let config = configured(server, socket, None)?;
    // Renamed into place when complete. Only the owner can read it: the records contain variables of applications.
    let fresh = file.with_added_extension("unfinished");
    let failed = |error: io::Error| Failure::other(format!("{} cannot be written: {error}", file.display()));
    let made = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh).map_err(failed)?;
    let mut out = BufWriter::new(made);
    let written = match Client::new(config.socket.path()).export(kv, |bytes| out.write_all(bytes)).await {
        Err(ClientError::NoServer { .. }) => {
            let lines = backup::export_of(&config, kv).await.map_err(Failure::other);
            lines.and_then(|mut lines| lines.try_for_each(|line| out.write_all(&line)).map_err(failed))
        }
        written => written.map_err(Failure::from),
    };
    let kept = written.and_then(|()| finish(out, &fresh, file).map_err(failed));
    if let Err(error) = kept {
        let _ = std::fs::remove_file(&fresh);
        return Err(error);
    }
    let entries = backup::check(file).map_err(Failure::other)?;
    println!("exported {entries} entries to {}", file.display());
    Ok(ExitCode::SUCCESS)
}

fn finish(out: BufWriter<File>, fresh: &Path, file: &Path) -> io::Result<()> {
    let written = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    written.sync_all()?;
    backup::check(fresh).map_err(io::Error::other)?;
    std::fs::rename(fresh, file)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
