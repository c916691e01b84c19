//! Reads the container or process to run, and reports keys that do not fit it.

use super::Reading;
use crate::keys::{Key, workload};
use crate::problem::Problem;
use crate::section::{Located, Section};
use gapless_core::ServiceName;
use gapless_core::spec::{Container, Process, Volume, Workload};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The keys that only a process has.
const OF_A_PROCESS: [&Key; 1] = [&workload::DIRECTORY];

/// The keys that only a container has.
const OF_A_CONTAINER: [&Key; 4] = [&workload::IMAGE, &workload::ENTRYPOINT, &workload::INIT, &workload::VOLUMES];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Docker,
    Process,
    Systemd,
}

/// The values of all keys of containers and processes, before the runtime is known.
struct Keys {
    image: Option<Located<String>>,
    command: Option<Vec<Located<String>>>,
    entrypoint: Option<Vec<Located<String>>>,
    user: Option<Located<String>>,
    init: Option<bool>,
    directory: Option<Located<String>>,
    volumes: Option<Vec<Located<String>>>,
}

impl Reading<'_> {
    pub(super) fn workload(&self, root: &Section<'_>, service: &ServiceName) -> Option<Workload> {
        let runtime = root.text(&workload::RUNTIME);
        let keys = Keys {
            image: root.text(&workload::IMAGE),
            command: root.texts(&workload::COMMAND),
            entrypoint: root.texts(&workload::ENTRYPOINT),
            user: root.text(&workload::USER),
            init: root.boolean(&workload::INIT),
            directory: root.text(&workload::DIRECTORY),
            volumes: root.texts(&workload::VOLUMES),
        };
        // An image that is given for all services does not replace the own image of a service.
        let given = self.options.image.as_ref().filter(|_| !root.is_heir() || !root.has_own(&workload::IMAGE));
        let given = self.options.images.get(service).or(given);
        match self.kind(root, runtime, given.is_some())? {
            Kind::Docker => self.container(root, keys, given),
            Kind::Process => self.process(root, keys).map(Workload::Process),
            Kind::Systemd => self.process(root, keys).map(Workload::Systemd),
        }
    }

    fn kind(&self, root: &Section<'_>, runtime: Option<Located<String>>, is_image_given: bool) -> Option<Kind> {
        let (kind, why) = match runtime {
            Some(runtime) => match runtime.value.as_str() {
                "docker" => (Kind::Docker, "`runtime` is \"docker\""),
                "process" => (Kind::Process, "`runtime` is \"process\""),
                "systemd" => (Kind::Systemd, "`runtime` is \"systemd\""),
                other => {
                    let message = format!("there is no runtime {other:?}");
                    let help = "the runtimes are \"docker\", \"process\" and \"systemd\"".to_owned();
                    self.report.at(runtime.span, message, "here", Some(help));
                    return None;
                }
            },
            None if root.has(&workload::RUNTIME) => return None,
            None if root.has(&workload::IMAGE) => (Kind::Docker, "it has an `image`"),
            None if root.has(&workload::COMMAND) => (Kind::Process, "it has a `command` and no `image`"),
            None if is_image_given => (Kind::Docker, "`--image` was given"),
            None => {
                root.missing(&workload::IMAGE, "give an `image` to run a container, or a `command` to run a process");
                return None;
            }
        };
        let (unfit, is, instead) = match kind {
            Kind::Docker => (&OF_A_PROCESS[..], "a container", "a process"),
            Kind::Process => (&OF_A_CONTAINER[..], "a process", "a container"),
            Kind::Systemd => (&OF_A_CONTAINER[..], "a service of systemd", "a container"),
        };
        for key in unfit.iter().filter(|key| root.has(key)) {
            let message = format!("`{}` is for {instead}, and this file runs {is}, because {why}", root.path(key));
            self.report.at_path(&root.path(key), message, "does not fit");
        }
        Some(kind)
    }

    fn container(&self, root: &Section<'_>, keys: Keys, given: Option<&String>) -> Option<Workload> {
        let image = match given {
            Some(image) => Some(image.clone()),
            None => keys.image.map(|image| image.value),
        };
        if image.is_none() && !root.has(&workload::IMAGE) {
            root.missing(
                &workload::IMAGE,
                "name the image to run, such as `image = \"shop:42\"`, or give one with `--image`",
            );
        }
        let volumes = keys.volumes.unwrap_or_default();
        let volumes = volumes.into_iter().enumerate().filter_map(|(at, volume)| {
            let parsed = self.volume(&volume.value);
            root.accept(volume.span, &format!("{}[{at}]", root.path(&workload::VOLUMES)), parsed)
        });
        let volumes = volumes.collect();
        Some(Workload::Docker(Container {
            image: image?,
            command: keys.command.map(values),
            entrypoint: keys.entrypoint.map(values),
            user: keys.user.map(|user| user.value),
            volumes,
            init: keys.init.unwrap_or(false),
        }))
    }

    /// Parses `SOURCE:PATH`, with `:ro` at the end for a read-only mount. A source that begins with `./` or `../` is a path
    /// relative to the folder of the configuration.
    fn volume(&self, text: &str) -> Result<Volume, String> {
        const FORM: &str = "write it like \"data:/data\", \"/srv/data:/data\" or \"./data:/data:ro\"";
        let parts: Vec<&str> = text.split(':').collect();
        let (source, path, read_only) = match parts.as_slice() {
            [source, path] => (source, path, false),
            [source, path, "ro"] => (source, path, true),
            [source, path, "rw"] => (source, path, false),
            [_, _, option] => return Err(format!("{option:?} is neither `ro` nor `rw`; {FORM}")),
            _ => return Err(format!("{text:?} is not a volume; {FORM}")),
        };
        if source.starts_with('~') {
            return Err(format!("`~` in {text:?} is not replaced; write the path in full"));
        }
        let is_relative = source.split('/').next().is_some_and(|first| first == "." || first == "..");
        if !is_relative && !source.starts_with('/') && source.contains('/') {
            return Err(format!(
                "{source:?} is not the name of a volume; for a folder beside this file write \"./{source}\""
            ));
        }
        let source = if is_relative { text_of(&self.absolute(source))? } else { (*source).to_owned() };
        Ok(Volume { source, path: (*path).to_owned(), read_only })
    }

    fn process(&self, root: &Section<'_>, keys: Keys) -> Option<Process> {
        if self.options.image.is_some() {
            let help = "leave out `--image`, or give the file an `image`".to_owned();
            self.report.add(Problem::nowhere("`--image` was given, but the file runs a process").help(Some(help)));
        }
        if !root.has(&workload::COMMAND) {
            root.missing(
                &workload::COMMAND,
                "name the program to run, such as `command = [\"./shop\", \"--port\", \"{port}\"]`",
            );
        }
        let command = keys.command?;
        let program = match command.first() {
            Some(program) => root.accept(
                program.span.clone(),
                &format!("{}[0]", root.path(&workload::COMMAND)),
                self.program(&program.value),
            )?,
            None => {
                let path = root.path(&workload::COMMAND);
                let message = format!("`{path}` is empty; it is the program and its arguments");
                self.report.at_path(&path, message, "here");
                return None;
            }
        };
        let arguments = command.into_iter().skip(1).map(|argument| argument.value);
        let command = std::iter::once(program).chain(arguments).collect();
        let directory = match keys.directory {
            Some(directory) => {
                let path = self.absolute(&directory.value);
                let checked =
                    if path.is_dir() { text_of(&path) } else { Err(format!("{} is not a folder", path.display())) };
                root.accept(directory.span, &root.path(&workload::DIRECTORY), checked)?
            }
            None => root.accept(0..0, "directory", text_of(&self.base))?,
        };
        Some(Process { command, directory, user: keys.user.map(|user| user.value) })
    }

    /// The absolute path of a program: a name with a slash is relative to the folder of the configuration, any other name
    /// is looked up in `PATH`.
    pub(super) fn program(&self, name: &str) -> Result<String, String> {
        if name.is_empty() {
            return Err("the program has no name".to_owned());
        }
        if name.contains('/') {
            let path = self.absolute(name);
            return match std::fs::metadata(&path) {
                Ok(metadata) if is_program(&metadata) => text_of(&path),
                Ok(_) => Err(format!("{} is not a program; make it executable with `chmod +x`", path.display())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    Err(format!("there is no program {}", path.display()))
                }
                Err(error) => Err(format!("{} cannot be run: {error}", path.display())),
            };
        }
        let search_path = self.options.search_path.clone().or_else(|| std::env::var_os("PATH")).unwrap_or_default();
        let found = std::env::split_paths(&search_path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .find(|path| std::fs::metadata(path).is_ok_and(|metadata| is_program(&metadata)));
        match found {
            Some(path) => text_of(&path),
            None => Err(format!("there is no program {name:?} in PATH; for one beside this file write \"./{name}\"")),
        }
    }
}

fn is_program(metadata: &std::fs::Metadata) -> bool {
    metadata.is_file() && metadata.permissions().mode() & 0o111 != 0
}

fn text_of(path: &Path) -> Result<String, String> {
    let path: PathBuf = path.to_owned();
    path.into_os_string().into_string().map_err(|path| format!("the path {} is not UTF-8", path.display()))
}

fn values(texts: Vec<Located<String>>) -> Vec<String> {
    texts.into_iter().map(|text| text.value).collect()
}
