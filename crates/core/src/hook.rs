//! Hooks: programs and containers that run once in a deployment at a given point. Migrations are hooks.

use crate::gate::{Gate, GateCommand, GateContainer, GateKind, GateResult};
use crate::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A program or container that runs once in each deployment of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// The hook's name, under the same rule as an application's.
    pub name: String,
    /// The point of the deployment at which it runs.
    pub at: HookPoint,
    /// The program or container.
    pub run: HookRun,
    /// The time limit of its run.
    pub timeout: Millis,
    /// Set if the hook is a migration: it changes data that earlier releases work with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<Migration>,
}

/// The points of a deployment at which hooks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HookPoint {
    /// The release is fetched, and no instance of it runs yet.
    BeforeStart,
    /// The release has passed everything and gets requests next; the old one serves.
    BeforeCutover,
    /// As [`HookPoint::BeforeCutover`], with new requests held in the data planes: no release serves.
    Held,
    /// The release has just got all requests. If the hook fails, the deployment is reverted.
    AfterCutover,
    /// The release stays live.
    AfterSuccess,
    /// The deployment has failed, or was reverted.
    OnFailure,
}

/// The program or container of a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum HookRun {
    /// A program on the server's host; the exit code 0 is a success.
    Command(GateCommand),
    /// A container that runs to its end; the exit code 0 is a success.
    Container(GateContainer),
}

/// A migration changes data that earlier releases work with, such as the schema of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Migration {
    /// The program or container that undoes the migration. Without it a rollback past the migration needs `--force`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<HookRun>,
}

/// A completed migration and its release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Migrated {
    /// The number of the release.
    pub release: u64,
    /// The migration.
    pub hook: Hook,
}

/// A hook of a deployment that was started. It is recorded before its start, and never starts twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HookReport {
    /// The hook's name.
    pub name: String,
    /// The point of the deployment at which it runs.
    pub at: HookPoint,
    /// The identity of the run of the server that started it.
    #[serde(rename = "begun_by")]
    pub started_by: String,
    /// The start of the hook.
    pub since: Timestamp,
    /// The end of the hook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The result of the hook, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<GateResult>,
}

impl Hook {
    /// The hook as a gate, since both are carried out in the same way.
    #[must_use]
    pub fn as_gate(&self) -> Gate {
        let kind = match &self.run {
            HookRun::Command(command) => GateKind::Command(command.clone()),
            HookRun::Container(container) => GateKind::Container(container.clone()),
        };
        Gate { name: self.name.clone(), kind, timeout: self.timeout, retries: 0, parallel: false }
    }

    /// The hook with which a rollback undoes this one; `None` if it has no `back`.
    #[must_use]
    pub fn back(&self) -> Option<Hook> {
        let run = self.migration.as_ref()?.back.clone()?;
        let name = format!("back-{}", self.name);
        Some(Hook { name, at: HookPoint::BeforeCutover, run, timeout: self.timeout, migration: None })
    }
}

impl HookPoint {
    /// The point's name, as written in `gapless.toml`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            HookPoint::BeforeStart => "before-start",
            HookPoint::BeforeCutover => "before-cutover",
            HookPoint::Held => "held",
            HookPoint::AfterCutover => "after-cutover",
            HookPoint::AfterSuccess => "after-success",
            HookPoint::OnFailure => "on-failure",
        }
    }
}
