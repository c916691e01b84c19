//! `gapless render`: confd's flags, under confd's names, with one dash or two.

use clap::Args;
use clap::builder::BoolishValueParser;
use gapless_render::Options;
use std::ffi::OsString;
use std::path::PathBuf;

/// The flags of `gapless render`; the configuration file has the values of flags that are not given.
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = RENDER_HELP)]
pub struct Render {
    /// The source of the keys: etcdv3 (etcd is the same), env, file or gapless [default: etcdv3]
    #[arg(long, value_name = "NAME")]
    pub backend: Option<String>,
    /// A member of etcd; may be given several times [default: 127.0.0.1:2379]
    #[arg(long, value_name = "ADDRESS")]
    pub node: Vec<String>,
    /// The folder that contains conf.d and templates [default: /etc/confd]
    #[arg(long, value_name = "FOLDER")]
    pub confdir: Option<PathBuf>,
    /// The configuration file [default: /etc/confd/confd.toml]
    #[arg(long, value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// The prefix of all keys, in place of the prefix in each resource
    #[arg(long, value_name = "PATH")]
    pub prefix: Option<String>,
    /// Render once; exit code 1 if a resource failed
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub onetime: Option<bool>,
    /// Render when a key changes, and at every interval in any case
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub watch: Option<bool>,
    /// The seconds between two renderings [default: 600]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub interval: Option<u64>,
    /// Print the files that would be updated, and change nothing
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub noop: Option<bool>,
    /// Update files, but run neither check_cmd nor reload_cmd
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub sync_only: Option<bool>,
    /// Keep the staged files beside their targets
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub keep_stage_file: Option<bool>,
    /// A file of YAML or JSON, or a folder of them, for the backend file; may be given several times
    #[arg(long, value_name = "PATH")]
    pub file: Vec<PathBuf>,
    /// The pattern of file names in folders, for the backend file [default: *]
    #[arg(long, value_name = "PATTERN")]
    pub filter: Option<String>,
    /// The authority that must have signed etcd's certificate, in PEM
    #[arg(long, value_name = "FILE")]
    pub client_ca_keys: Option<PathBuf>,
    /// The client certificate for etcd, in PEM
    #[arg(long, value_name = "FILE")]
    pub client_cert: Option<PathBuf>,
    /// The key of the client certificate, in PEM
    #[arg(long, value_name = "FILE")]
    pub client_key: Option<PathBuf>,
    /// Not supported: certificates are always checked
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub client_insecure: Option<bool>,
    /// Authenticate with -username and -password; either of them implies this flag
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub basic_auth: Option<bool>,
    /// The user name for etcd
    #[arg(long, value_name = "NAME")]
    pub username: Option<String>,
    /// The password for etcd; other users of this host can see it here, but not in the configuration file
    #[arg(long, value_name = "TEXT")]
    pub password: Option<String>,
    /// The scheme for members that DNS names: http or https [default: http]
    #[arg(long, value_name = "SCHEME")]
    pub scheme: Option<String>,
    /// The domain whose DNS names the members of etcd, by the record _BACKEND._tcp.DOMAIN
    #[arg(long, value_name = "DOMAIN")]
    pub srv_domain: Option<String>,
    /// The DNS record that names the members
    #[arg(long, value_name = "NAME")]
    pub srv_record: Option<String>,
    /// The armored keyring that cget, cgets, cgetv and cgetvs decrypt with
    #[arg(long, value_name = "FILE")]
    pub secret_keyring: Option<PathBuf>,
    /// The time limit of a check_cmd or reload_cmd, in seconds [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub command_timeout: Option<u64>,
    /// The log level: debug, info, warn, error or panic [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

const RENDER_HELP: &str = "Every flag may be written with one dash, as in confd: -onetime -backend etcdv3 -node \
127.0.0.1:2379.\nExit codes: 0 done, or stopped by a signal; 1 failed; 2 usage.";

/// The flags that need no value.
const SWITCHES: &[&str] =
    &["onetime", "watch", "noop", "sync-only", "keep-stage-file", "client-insecure", "basic-auth", "help", "version"];

impl Render {
    /// The options that the flags set.
    pub fn options(self) -> Options {
        Options {
            backend: self.backend,
            nodes: self.node,
            confdir: self.confdir,
            interval: self.interval,
            prefix: self.prefix,
            scheme: self.scheme,
            srv_domain: self.srv_domain,
            srv_record: self.srv_record,
            client_cakeys: self.client_ca_keys,
            client_cert: self.client_cert,
            client_key: self.client_key,
            client_insecure: self.client_insecure,
            basic_auth: self.basic_auth,
            username: self.username,
            password: self.password,
            file: self.file,
            filter: self.filter,
            secret_keyring: self.secret_keyring,
            log_level: self.log_level,
            onetime: self.onetime,
            watch: self.watch,
            noop: self.noop,
            keep_stage_file: self.keep_stage_file,
            sync_only: self.sync_only,
            command_timeout: self.command_timeout,
        }
    }
}

/// Rewrites confd's flags of a `gapless render` command line to the usual form: `-node x` becomes `--node=x`, and
/// `-onetime` becomes `--onetime`. A value may begin with a dash, as in confd.
pub fn with_double_dashes(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter();
    let mut output: Vec<OsString> = arguments.next().into_iter().collect();
    // Skips to the name of the command: of the flags before it, only --socket has a value.
    loop {
        let Some(argument) = arguments.next() else { return output };
        let is_flag = argument.to_string_lossy().starts_with('-');
        let (has_value, is_render) = (argument == "--socket", argument == "render");
        output.push(argument);
        if has_value {
            output.extend(arguments.next());
        } else if !is_flag {
            if is_render {
                break;
            }
            output.extend(arguments);
            return output;
        }
    }
    while let Some(argument) = arguments.next() {
        let long = argument.to_str().and_then(|text| {
            let name = text.strip_prefix("--").or_else(|| text.strip_prefix('-'))?;
            (name.len() > 1 && name.starts_with(|first: char| first.is_ascii_alphabetic())).then(|| name.to_owned())
        });
        let Some(name) = long else {
            // Not a flag, or one letter, or `--`.
            output.push(argument);
            continue;
        };
        let mut flag = OsString::from(format!("--{name}"));
        if !name.contains('=')
            && !SWITCHES.contains(&name.as_str())
            && let Some(value) = arguments.next()
        {
            flag.push("=");
            flag.push(value);
        }
        output.push(flag);
    }
    output
}

#[cfg(test)]
mod tests {
    use super::with_double_dashes;

    fn rewritten(line: &str) -> String {
        let words = with_double_dashes(line.split(' ').map(Into::into));
        words.into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn render_flags_accept_one_dash() {
        for (line, usual) in [
            (
                "gapless render -onetime -backend etcdv3 -node a -node b",
                "gapless render --onetime --backend=etcdv3 --node=a --node=b",
            ),
            ("gapless render --onetime --node a -watch=false", "gapless render --onetime --node=a --watch=false"),
            ("gapless render -password -secret -noop", "gapless render --password=-secret --noop"),
            ("gapless render -h", "gapless render -h"),
            ("gapless render -prefix=/a -- -x", "gapless render --prefix=/a -- -x"),
            ("gapless render -node", "gapless render --node"),
            ("gapless --socket render render -noop", "gapless --socket render render --noop"),
            ("gapless --socket=/s render -noop", "gapless --socket=/s render --noop"),
            ("gapless history -n 5", "gapless history -n 5"),
            ("gapless deploy -c render -env", "gapless deploy -c render -env"),
            ("gapless", "gapless"),
        ] {
            assert_eq!(rewritten(line), usual, "{line}");
        }
    }
}
