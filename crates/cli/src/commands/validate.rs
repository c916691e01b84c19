//! `gapless validate`: reports all problems of `gapless.toml`, without deploying it.

use crate::exit::Failure;
use crate::present::listed;
use crate::target::File;
use gapless_config::{LoadOptions, Secrets};
use std::process::ExitCode;

pub fn run(file: &File) -> Result<ExitCode, Failure> {
    let all = gapless_config::environments(&file.path)?;
    if all.is_empty() {
        check(file, &LoadOptions { secrets: Secrets::NotNeeded, ..LoadOptions::default() })?;
    }
    for environment in all {
        let environment = Some(environment);
        check(file, &LoadOptions { environment, secrets: Secrets::NotNeeded, ..LoadOptions::default() })?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check(file: &File, options: &LoadOptions) -> Result<(), Failure> {
    let spec = gapless_config::load(&file.path, options)?.spec;
    let routes = spec.routes.iter().map(|route| format!("{}{}", route.host, route.path));
    let several = spec.has_several_services();
    let replicas = spec.services.iter().map(|(name, service)| match several {
        true => format!("{} × {name}", service.replicas),
        false => service.replicas.to_string(),
    });
    let replicas = replicas.collect::<Vec<_>>().join(", ");
    println!(
        "{} is valid: {} in {}, {replicas} {} {}, for {}",
        file.path.display(),
        spec.app,
        spec.env,
        if several { "by" } else { "×" },
        spec.runtime(),
        if spec.routes.is_empty() { "no requests".to_owned() } else { listed(routes) }
    );
    Ok(())
}
