//! Which file, and which application, a command is about.

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

/// What is given beside the configuration file, and goes before it.
#[derive(Debug, Args)]
pub struct Wanted {
    /// The image to run, in place of the one in the file; of several services with the name of one in front, such as
    /// api=shop-api:2, and then as often as needed
    #[arg(long, value_name = "[SERVICE=]IMAGE")]
    image: Vec<String>,
    /// The environment to deploy into [default: production]
    #[arg(short = 'e', long, value_name = "NAME")]
    env: Option<EnvName>,
}

impl Wanted {
    /// The same, for reading the file.
    pub fn into_options(self) -> Result<LoadOptions, Failure> {
        let mut options = LoadOptions { environment: self.env, ..LoadOptions::default() };
        for given in self.image {
            // No reference to an image has such a sign in it.
            let before = match given.split_once('=') {
                Some((service, image)) => {
                    let service =
                        service.parse().map_err(|error| Failure::usage(format!("--image {given}: {error}")))?;
                    options.images.insert(service, image.to_owned())
                }
                None => options.image.replace(given.clone()),
            };
            if let Some(before) = before {
                return Err(Failure::usage(format!("--image {given}: {before} was given already")));
            }
        }
        Ok(options)
    }
}

/// The application: by its name, or by the configuration file's.
#[derive(Debug, Args)]
pub struct App {
    /// The application [default: the one that the configuration file names]
    #[arg(short = 'a', long, env = "GAPLESS_APP", value_name = "NAME")]
    app: Option<AppName>,
    /// Its environment
    #[arg(short = 'e', long, value_name = "NAME", default_value_t)]
    env: EnvName,
    #[command(flatten)]
    file: File,
}

/// The application as a first argument, too, for commands that take no other.
#[derive(Debug, Args)]
pub struct NamedApp {
    /// The application, as --app names it
    #[arg(value_name = "APP")]
    name: Option<AppName>,
    #[command(flatten)]
    app: App,
}

impl NamedApp {
    /// The application that is meant.
    pub fn key(&self) -> Result<AppKey, Failure> {
        match &self.name {
            Some(name) => Ok(AppKey::new(name.clone(), self.app.env.clone())),
            None => self.app.key(),
        }
    }
}

/// Only the name: an application can be rolled back whatever else is wrong with the file.
#[derive(Deserialize)]
struct Named {
    name: AppName,
}

impl App {
    /// The application that is meant.
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
            Failure::usage(format!("which application? {path} cannot be read ({error}); name it with --app"))
        })?;
        let named: Named = toml::from_str(&text).map_err(|error| {
            Failure::usage(format!("which application? {path} does not say: {}; name it with --app", error.message()))
        })?;
        Ok(named.name)
    }
}
