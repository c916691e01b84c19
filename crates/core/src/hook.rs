//! Hooks: what is done once in a deployment at a certain point of it, migrations among them.

use crate::gate::{Gate, GateCommand, GateContainer, GateKind, GateResult};
use crate::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that is done once in each deployment of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Its name, of the same form as that of an application.
    pub name: String,
    /// When it is done.
    pub at: HookPoint,
    /// What is done.
    pub run: HookRun,
    /// How long it may take.
    pub timeout: Millis,
    /// That it changes what earlier releases work with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<Migration>,
}

/// The points of a deployment at which hooks are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HookPoint {
    /// The release is fetched, and nothing of it runs yet.
    BeforeStart,
    /// The release has passed everything and gets its requests next; the old one serves.
    BeforeCutover,
    /// The same, with new requests held in the data planes: no release serves.
    Held,
    /// The release has just got all requests. If it fails, they go back.
    AfterCutover,
    /// The release stays.
    AfterSuccess,
    /// The deployment has failed, or its release was taken back.
    OnFailure,
}

/// What a hook does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum HookRun {
    /// A program of the server's host; it has succeeded if it ends with 0.
    Command(GateCommand),
    /// A container that is run to its end; it has succeeded if it ends with 0.
    Container(GateContainer),
}

/// That a hook changes what earlier releases work with, such as the schema of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Migration {
    /// What undoes it. Without it a rollback past it has to be forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<HookRun>,
}

/// A migration that was carried out, and by which release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Migrated {
    /// The number of the release.
    pub release: u64,
    /// The migration.
    pub hook: Hook,
}

/// A hook of a deployment that was begun. It is recorded before it is, and never begun twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HookReport {
    /// Its name.
    pub name: String,
    /// When it is done.
    pub at: HookPoint,
    /// Which run of the server has begun it.
    pub begun_by: String,
    /// When it began.
    pub since: Timestamp,
    /// When it ended, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What came of it, once something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<GateResult>,
}

impl Hook {
    /// The same as a gate: it is carried out in the same way.
    #[must_use]
    pub fn as_gate(&self) -> Gate {
        let kind = match &self.run {
            HookRun::Command(command) => GateKind::Command(command.clone()),
            HookRun::Container(container) => GateKind::Container(container.clone()),
        };
        Gate { name: self.name.clone(), kind, timeout: self.timeout, retries: 0, parallel: false }
    }

    /// The hook of a rollback that undoes this one, if it says how.
    #[must_use]
    pub fn back(&self) -> Option<Hook> {
        let run = self.migration.as_ref()?.back.clone()?;
        let name = format!("back-{}", self.name);
        Some(Hook { name, at: HookPoint::BeforeCutover, run, timeout: self.timeout, migration: None })
    }
}

impl HookPoint {
    /// The point's name, as it is written.
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
