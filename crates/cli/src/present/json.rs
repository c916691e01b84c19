//! Output for programs.

use crate::exit::Failure;
use serde::Serialize;
use std::process::ExitCode;

/// Prints a value as indented JSON.
pub fn print(value: &impl Serialize) -> Result<ExitCode, Failure> {
    println!("{}", serde_json::to_string_pretty(value).map_err(Failure::other)?);
    Ok(ExitCode::SUCCESS)
}

/// A value as a line of JSON.
pub fn line(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(Failure::other)
}

/// The JSON string of a plain value, so that people and programs read the same word.
pub fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
