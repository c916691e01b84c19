//! The commented `gapless.toml` that `gapless init` writes, generated from the definitions of the keys: the needed keys
//! are set, the others are comments that show the default, or an example if there is no default.

use crate::keys::{DefaultValue, Key, Kind, file, health, workload};
use crate::wrap::wrap;
use gapless_core::AppName;

/// The longest line of the template, in characters.
const LINE_CHARS_MAX: usize = 120;

/// The runtime of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// A container.
    Docker,
    /// A process of the host.
    Process,
}

/// The application that a template is for.
#[derive(Debug, Clone)]
pub struct TemplateOptions {
    /// The name of the application.
    pub name: AppName,
    /// The runtime of the application.
    pub runtime: Runtime,
}

/// The keys of a container: set, then as comments.
const DOCKER: (&[&Key], &[&Key]) = (
    &[&workload::IMAGE, &workload::PORT],
    &[&workload::COMMAND, &workload::ENTRYPOINT, &workload::USER, &workload::INIT, &workload::VOLUMES],
);

/// An example of `command` without `{port}`, which is for processes.
const COMMAND_OF_CONTAINER: &str = r#"["./shop", "--verbose"]"#;

/// The keys of a process: set, then as comments.
const PROCESS: (&[&Key], &[&Key]) = (&[&workload::COMMAND], &[&workload::DIRECTORY]);

/// The keys of both.
const BOTH: &[&Key] = &[&workload::REPLICAS, &workload::HOSTS, &workload::ENV_FILES, &workload::SECRETS];

/// The tables after these keys. Tables for gates, hooks, canaries and so on follow other rules for each application, and
/// are left to the reference page.
const TABLES: &[&Key] = &[
    &workload::ROUTES,
    &workload::ENV,
    &workload::RESOURCES,
    &workload::HEALTH,
    &file::DEPLOY,
    &file::PROXY,
    &workload::LOG,
    &workload::HOST_PORTS,
];

/// The text of a configuration to begin with. Only its program or image may have to be changed before it can be used.
#[must_use]
pub fn template(options: &TemplateOptions) -> String {
    let mut text = comment(
        "The configuration of an application for gapless. A line behind a single `#` is a setting that can be \
         switched on; it shows the default, or an example if there is no default and in [[routes]]. `gapless validate` \
         checks this file, `gapless schema` describes it to editors, and docs/configuration.md describes every key, \
         also those of gates, hooks, migrations, canaries and environments.",
    );
    let name = format!("{:?}", options.name.as_str());
    text.push_str(&format!("\n{}name = {name}\n", comment(file::NAME.doc)));
    let (set, optional) = match options.runtime {
        Runtime::Docker => DOCKER,
        Runtime::Process => PROCESS,
    };
    for key in set {
        text.push_str(&format!("\n{}{} = {}\n", comment(key.doc), key.name, key.example));
    }
    for key in optional.iter().chain(BOTH) {
        let is_of_image = options.runtime == Runtime::Docker && std::ptr::eq(*key, &workload::COMMAND);
        let value = if is_of_image { COMMAND_OF_CONTAINER.to_owned() } else { default_or_example(key) };
        text.push_str(&format!("\n{}#{} = {value}\n", comment(key.doc), key.name));
    }
    for key in TABLES {
        text.push('\n');
        text.push_str(&table_text(key));
    }
    text
}

fn table_text(key: &'static Key) -> String {
    // The path of the health check is the one setting that nearly every application has.
    let is_set = |key: &Key| std::ptr::eq(key, &workload::HEALTH) || std::ptr::eq(key, &health::PATH);
    let mark = |key: &Key| if is_set(key) { "" } else { "#" };
    // A list of tables that have only defaults would say nothing.
    let is_list = matches!(key.kind, Kind::Tables(_));
    let value = |key: &Key| if is_list { key.example.to_owned() } else { default_or_example(key) };
    let header = if is_list { format!("[[{}]]", key.name) } else { format!("[{}]", key.name) };
    let mut text = format!("{}{}{header}\n", comment(key.doc), mark(key));
    for key in key.kind.table().keys() {
        text.push_str(&format!("{}{}{} = {}\n", comment(key.doc), mark(key), key.name, value(key)));
    }
    if let Kind::Variables = key.kind {
        text.push_str(&format!("#{}\n", key.example.trim_matches(['{', '}', ' '])));
    }
    text
}

/// The default, or the example if there is no default.
fn default_or_example(key: &Key) -> String {
    match key.default {
        DefaultValue::Is(value) => value().to_string(),
        DefaultValue::Required | DefaultValue::Described(_) => key.example.to_owned(),
    }
}

fn comment(text: &str) -> String {
    format!("{}\n", wrap(text, "# ", LINE_CHARS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Table;

    #[test]
    fn template_has_only_known_keys_and_real_defaults() {
        let mut compared = 0;
        for runtime in [Runtime::Docker, Runtime::Process] {
            let text = template(&TemplateOptions { name: "shop".parse().unwrap(), runtime });
            let settings: String = text
                .lines()
                .filter(|line| !line.starts_with("# "))
                .map(|line| format!("{}\n", line.strip_prefix('#').unwrap_or(line)))
                .collect();
            check(&settings.parse().unwrap(), &file::TABLE, &mut compared);
        }
        assert!(compared > 50, "only {compared} defaults");
    }

    fn check(shown: &toml::Table, table: &'static Table, compared: &mut u32) {
        for (name, value) in shown {
            let key = table.keys().find(|key| key.name == name).unwrap_or_else(|| panic!("there is no key {name}"));
            match (value, &key.kind) {
                (toml::Value::Table(inner), Kind::Table(table)) => check(inner, table, compared),
                (toml::Value::Array(items), Kind::Tables(table)) => {
                    let known = |name: &String| table.keys().any(|key| key.name == name);
                    assert!(items.iter().all(|item| item.as_table().unwrap().keys().all(known)), "{items:?}");
                }
                _ => {
                    let DefaultValue::Is(default) = key.default else { continue };
                    assert_eq!(serde_json::to_value(value).unwrap(), default(), "{name}");
                    *compared += 1;
                }
            }
        }
    }
}
