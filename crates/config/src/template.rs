//! The commented `gapless.toml` that `gapless init` writes: what is needed is there, what is possible is beside it as a
//! comment with its default.

use gapless_core::AppName;

/// What runs the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// A container.
    Docker,
    /// A process of the host.
    Process,
}

/// What a template is for.
#[derive(Debug, Clone)]
pub struct TemplateOptions {
    /// The application's name.
    pub name: AppName,
    /// What runs it.
    pub runtime: Runtime,
}

/// The text of a configuration to begin with. It can be read as it is, but for a program or an image that has to be
/// there.
#[must_use]
pub fn template(options: &TemplateOptions) -> String {
    let what = match options.runtime {
        Runtime::Docker => DOCKER,
        Runtime::Process => PROCESS,
    };
    format!(
        "{TOP}name = \"{}\"\n\n{what}{REQUESTS}{VARIABLES}{}{REST}",
        options.name,
        match options.runtime {
            Runtime::Docker => VOLUMES,
            Runtime::Process => "",
        }
    )
}

const TOP: &str = r#"# What gapless deploys, and how. A line behind a single `#` is a setting that can be switched on; it shows
# the default, or an example where there is none. `gapless validate` checks this file, `gapless schema` describes it to
# editors.

# The application's name: lower-case letters, digits and hyphens.
"#;

const DOCKER: &str = r#"# The image to run. In CI, `gapless deploy --image shop:$VERSION` goes before it.
image = "shop:latest"

# The port that the application listens on in its container.
port = 3000

# In place of the image's own command and entrypoint.
#command = ["./shop", "--verbose"]
#entrypoint = ["/entrypoint.sh"]

# The user in the container: `name` or `uid[:gid]`.
#user = "1000:1000"

# A small init as process 1, for images whose own program ignores signals.
#init = false

"#;

const PROCESS: &str = r#"# The program to run, and its arguments. A path is looked up from this file's folder on, a bare name by PATH. The port
# to listen on is in the variable PORT, and in place of `{port}` in an argument: each instance has its own.
command = ["./shop", "--port", "{port}"]

# The folder that it runs in, from this file's folder on.
#directory = "."

"#;

const REQUESTS: &str = r#"# How many instances run side by side.
#replicas = 1

# The hosts whose requests are the application's: names, `*.example.com`, or `*` for every host. All without it.
#hosts = ["shop.example.com"]

"#;

const VARIABLES: &str = r#"# Files of environment variables, NAME=value on each line; [env] below goes before them.
#env_files = [".env"]

# Variables whose values come from the environment of `gapless deploy`, and are never shown.
#secrets = ["DATABASE_PASSWORD"]

"#;

const VOLUMES: &str = r#"# What is mounted: SOURCE:PATH, with `:ro` behind it to forbid writing. A source is a volume's name, or a path; one that
# begins with `./` counts from this file's folder on. Both slots have the same volumes.
#volumes = ["data:/data", "./config:/etc/shop:ro"]

"#;

const REST: &str = r#"# Requests by path, where hosts alone do not say enough. The longest prefix counts, in whole segments.
#[[routes]]
#host = "example.com"
#path = "/shop"
# Whether the prefix is cut off before the request is forwarded.
#strip = false

# Environment variables.
#[env]
#LOG_LEVEL = "info"

# Limits on each instance; none without them. One that takes more memory is killed.
#[resources]
#memory = "512m"
#cpus = 0.5

# What says that an instance can take requests: a GET, straight to it.
[health]
path = "/up"
# The port, where it is not the application's.
#port = 3000
# What counts as healthy: a list such as [200, 204], or a range.
#statuses = "200-299"
# The Host header; the instance's address without it.
#host = "shop.example.com"
# The longest wait between two checks; while an instance starts they begin 2 ms apart.
#interval = "1s"
# How long one check may take.
#timeout = "5s"
# How many must pass in a row before an instance takes requests, and fail in a row before a live one is taken out.
#passes = 1
#failures = 3
# How long a starting instance has. If it has not passed by then, the deployment fails, and nobody notices but you.
#deadline = "30s"

# The deadlines of a deployment.
#[deploy]
# Resolving and pulling the image; creating and starting the instances.
#prepare_timeout = "10m"
#start_timeout = "1m"
# Until every proxy has applied the cutover; else it is taken back.
#shift_timeout = "10s"
# How long the new slot is watched after the cutover, with the old one ready to take over again.
#observe = "10s"
# How long the old slot may take to finish the requests that it has.
#drain_timeout = "30s"
# From SIGTERM to SIGKILL.
#stop_timeout = "10s"
# How long the old slot stays ready, so that going back takes milliseconds.
#keep_warm = "10m"

# How requests are forwarded.
#[proxy]
#connect_timeout = "2s"
# From the end of the request to the head of the answer.
#response_timeout = "60s"
# How long a body may rest, in either direction.
#idle_timeout = "60s"
# Whether X-Forwarded-* and X-Request-Id of the client are believed, because another proxy of yours stands in front.
#trust_forwarded = false
# What Retry-After says in an answer 503, and an HTML file for 502, 503 and 504.
#retry_after = "2s"
#error_page = "error.html"

# What the output of each instance may take on disk.
#[log]
#max_size = "10m"
#max_files = 3

# Fixed ports on the host, one a slot, where something beside gapless needs to know them. Only with one instance.
#[host_ports]
#blue = 9001
#green = 9002
"#;
