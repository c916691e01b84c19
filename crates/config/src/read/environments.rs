//! `[environments.NAME]`: keys that override those of the file in one environment.

use super::Reading;
use crate::keys::{Key, file};
use crate::problem::Problem;
use crate::section::Section;
use gapless_core::EnvName;
use std::collections::BTreeMap;

/// The keys that an environment cannot have, each with the reason.
const OF_THE_FILE: [(&Key, &str); 2] = [
    (&file::NAME, "all environments of a file are of one application"),
    (&file::ENVIRONMENTS, "environments cannot be nested"),
];

impl<'a> Reading<'a> {
    /// The file with the keys of the chosen environment in place of its own, and the environment.
    pub(super) fn in_environment<'s>(&self, root: Section<'s>) -> Option<(Section<'s>, EnvName)> {
        let chosen = self.options.environment.clone();
        let Some(table) = root.table(&file::ENVIRONMENTS) else {
            return Some((root, chosen.unwrap_or_default()));
        };
        let mut environments = BTreeMap::new();
        for (key, _) in table.entries() {
            let name: &str = key.get_ref();
            let parsed = table.accept(key.span(), &table.path(name), name.parse::<EnvName>());
            let (Some(parsed), Some(section)) = (parsed, table.named(name)) else { continue };
            for (key, why) in OF_THE_FILE.iter().filter(|(key, _)| section.has(key)) {
                let path = section.path(key);
                self.report.at_path(&path, format!("`{path}`: {why}"), "here");
            }
            environments.insert(parsed, section);
        }
        self.environments.borrow_mut().extend(environments.keys().cloned());
        self.report_cycles(&environments);
        let env = chosen.clone().unwrap_or_default();
        match environments.remove(&env) {
            Some(section) => Some((root.overridden_by(section), env)),
            None => {
                let names = environments.keys().map(EnvName::as_str).collect::<Vec<_>>().join(", ");
                let message = match chosen {
                    Some(env) => format!("there is no environment {env}; there are {names}"),
                    None => format!("no environment was chosen; there are {names}"),
                };
                self.report.add(Problem::nowhere(message).help(Some("name one with `--env`".to_owned())));
                None
            }
        }
    }

    /// The environments in which a release must have succeeded before this environment takes it.
    pub(super) fn requires(&self, root: &Section<'_>) -> Vec<EnvName> {
        let mut requires = Vec::new();
        for (at, name) in root.texts(&file::REQUIRES).unwrap_or_default().into_iter().enumerate() {
            let path = format!("{}[{at}]", root.path(&file::REQUIRES));
            let Some(env) = root.accept(name.span.clone(), &path, name.value.parse::<EnvName>()) else { continue };
            if self.environments.borrow().contains(&env) {
                requires.push(env);
            } else {
                let message = format!("`{path}`: there is no [environments.{env}]");
                self.report.at(name.span, message, "here", None);
            }
        }
        requires
    }

    /// A release that has succeeded in the required environments comes into this environment by itself.
    pub(super) fn promote(&self, root: &Section<'_>, requires: &[EnvName]) -> bool {
        let Some(promote) = root.text(&file::PROMOTE) else { return false };
        let path = root.path(&file::PROMOTE);
        match promote.value.as_str() {
            file::PROMOTE_DEFAULT => false,
            "auto" if requires.is_empty() && !root.has(&file::REQUIRES) => {
                let message = format!("`{path}` is \"auto\", and `requires` names no environment");
                self.report.at(promote.span, message, "here", None);
                false
            }
            "auto" => true,
            other => {
                let message = format!("`{path}` is {other:?}; possible values are \"manual\" and \"auto\"");
                self.report.at(promote.span, message, "here", None);
                false
            }
        }
    }

    /// Reports environments that require themselves, directly or through others: they would never get a release.
    fn report_cycles(&self, environments: &BTreeMap<EnvName, Section<'_>>) {
        let requires: BTreeMap<&str, Vec<String>> = environments
            .iter()
            .map(|(env, section)| (env.as_str(), section.texts_unchecked(&file::REQUIRES)))
            .collect();
        for (env, section) in environments {
            let mut reached: Vec<&str> = requires[env.as_str()].iter().map(String::as_str).collect();
            let mut at = 0;
            while let Some(next) = reached.get(at).copied() {
                for further in requires.get(next).into_iter().flatten() {
                    if !reached.contains(&further.as_str()) {
                        reached.push(further);
                    }
                }
                at += 1;
            }
            if reached.contains(&env.as_str()) {
                let path = section.path(&file::REQUIRES);
                self.report.at_path(&path, format!("`{path}`: {env} would wait for itself"), "leads back to itself");
            }
        }
    }
}
