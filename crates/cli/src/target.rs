//! The flags that name a configuration file or an application.

use crate::exit::Failure;
use clap::Args;
use gapless_config::LoadOptions;
use gapless_core::{AppKey, AppName, EnvName};
use serde::Deserialize;
use std::path::PathBuf;

/// The configuration file.
#[derive(Debug, Clone, Args)]
pub struct File {
    /// The configuration file
    #[arg(short = 'c', long = "config", default_value = "gapless.toml", value_name = "FILE")]
    pub path: PathBuf,
}

/// Flags that override values of the configuration file.
#[derive(Debug, Args)]
pub struct Overrides {
    /// The image to run, in place of the one in the file. For one of several services put its name in front, such as
    /// api=shop-api:2, and repeat the flag for others
    #[arg(long, value_name = "[SERVICE=]IMAGE")]
    image: Vec<String>,
    /// The environment to deploy into [default: production]
    #[arg(short = 'e', long, value_name = "NAME")]
    env: Option<EnvName>,
}

impl Overrides {
    /// The options for loading the file.
    pub fn into_options(self) -> Result<LoadOptions, Failure> {
        let mut options = LoadOptions { environment: self.env, ..LoadOptions::default() };
        for given in self.image {
            // No image reference contains `=`.
            let before = match given.split_once('=') {
                Some((service, image)) => {
                    let service =
                        service.parse().map_err(|error| Failure::usage(format!("--image {given}: {error}")))?;
                    options.images.insert(service, image.to_owned())
                }
                None => options.image.replace(given.clone()),
            };
            if let Some(before) = before {
                return Err(Failure::usage(format!(
                    "--image {given} conflicts with an earlier --image {before}; give one of them"
                )));
            }
        }
        Ok(options)
    }
}

/// The application, named by a flag or by the configuration file.
#[derive(Debug, Args)]
pub struct App {
    /// The application [default: the one that the configuration file names]
    #[arg(short = 'a', long, env = "GAPLESS_APP", value_name = "NAME")]
    app: Option<AppName>,
    /// The environment
    #[arg(short = 'e', long, value_name = "NAME", default_value_t)]
    env: EnvName,
    #[command(flatten)]
    file: File,
}

/// The application as a positional argument or a flag, for commands without other positional arguments.
#[derive(Debug, Args)]
pub struct NamedApp {
    /// The application, as with --app
    #[arg(value_name = "APP")]
    name: Option<AppName>,
    #[command(flatten)]
    app: App,
}

impl NamedApp {
    /// The application's key.
    pub fn key(&self) -> Result<AppKey, Failure> {
        match &self.name {
            Some(name) => Ok(AppKey::new(name.clone(), self.app.env.clone())),
            None => self.app.key(),
        }
    }
}

/// The name of the application alone, so that a rollback works whatever else is wrong in the file.
#[derive(Deserialize)]
struct Named {
    name: AppName,
}

impl App {
    /// The application's key.
    pub fn key(&self) -> Result<AppKey, Failure> {
        let app = match &self.app {
            Some(app) => app.clone(),
            None => self.name_in_file()?,
        };
        Ok(AppKey::new(app, self.env.clone()))
    }

    /// The configuration file.
    pub const fn file(&self) -> &File {
        &self.file
    }

    fn name_in_file(&self) -> Result<AppName, Failure> {
        let path = self.file.path.display();
        let text = std::fs::read_to_string(&self.file.path).map_err(|error| {
            Failure::usage(format!(
                "which application? {path} cannot be read ({error}); name the application with --app"
            ))
        })?;
        let named: Named = toml::from_str(&text).map_err(|error| {
            Failure::usage(format!(
                "which application? {path} has no usable name: {}; name the application with --app",
                error.message()
            ))
        })?;
        Ok(named.name)
    }
}
