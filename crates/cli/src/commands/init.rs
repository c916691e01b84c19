//! `gapless init`: writes a commented `gapless.toml` to start from.

use crate::args::{Init, Runtime};
use crate::exit::Failure;
use gapless_config::{TemplateOptions, template};
use gapless_core::AppName;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

pub fn run(args: &Init) -> Result<ExitCode, Failure> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_of_folder()?,
    };
    let runtime = match args.runtime {
        Runtime::Docker => gapless_config::Runtime::Docker,
        Runtime::Process => gapless_config::Runtime::Process,
    };
    let text = template(&TemplateOptions { name: name.clone(), runtime });
    let shown = args.file.display();
    let opened =
        OpenOptions::new().write(true).create(true).truncate(args.force).create_new(!args.force).open(&args.file);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::usage(format!("{shown} exists already; --force replaces it")),
        _ => Failure::other(format!("{shown} cannot be written: {error}")),
    })?;
    println!("wrote {shown} for {name}: edit it, check it with `gapless validate`, then `gapless deploy`");
    Ok(ExitCode::SUCCESS)
}

/// The name of the current folder, changed into a valid name of an application.
fn name_of_folder() -> Result<AppName, Failure> {
    let folder = std::env::current_dir().map_err(Failure::other)?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = name.trim_matches('-');
    name.parse().map_err(|_| Failure::usage(format!("{name:?} is no valid application name; choose one with --name")))
}
