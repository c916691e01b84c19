//! `gapless schema`, `openapi`, `completions` and `man`: descriptions of gapless for other programs.

use crate::args::Cli;
use crate::exit::Failure;
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

pub fn schema() -> Result<ExitCode, Failure> {
    let schema = serde_json::to_string_pretty(&gapless_config::schema()).map_err(Failure::other)?;
    print(&schema)
}

pub fn openapi() -> Result<ExitCode, Failure> {
    print(&gapless_server::openapi_document())
}

pub fn completions(shell: Shell) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "gapless", &mut text);
    print(&String::from_utf8_lossy(&text))
}

pub fn man(folder: &Path) -> Result<ExitCode, Failure> {
    let cannot_write = |error| Failure::other(format!("{} cannot be written to: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(cannot_write)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(cannot_write)?;
    println!("wrote the man pages into {}", folder.display());
    Ok(ExitCode::SUCCESS)
}

/// Prints the failpoints of this build.
#[cfg(feature = "failpoints")]
pub fn failpoints() -> Result<ExitCode, Failure> {
    let names: Vec<_> = gapless_effect::Point::ALL.iter().map(|point| point.name()).collect();
    print(&serde_json::to_string(&names).map_err(Failure::other)?)
}

/// Prints `text`. A reader that stops reading, such as `head`, is no failure.
fn print(text: &str) -> Result<ExitCode, Failure> {
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(ExitCode::SUCCESS)
}
