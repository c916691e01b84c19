//! The reasons for which an operation is refused, each with the next step for the person who asked.

use crate::{AppKey, EnvName};

/// The reason for which an operation is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Another deployment is active and excludes the operation.
    #[error("deployment {deployment} of {key} is {phase}; wait for it, or end it with `gapless abort`")]
    Busy {
        /// The application and environment.
        key: AppKey,
        /// The number of the deployment.
        deployment: u64,
        /// The phase of the deployment.
        phase: &'static str,
    },
    /// A migration since that release would stay, because the migration has no `back`.
    #[error(
        "release {release} of {key} is older than these migrations, which nothing undoes: {}; if it works with the \
         migrated data, repeat the command with `--force`, and give the next migration a `back`", .migrations.join(", ")
    )]
    PastMigration {
        /// The application and environment.
        key: AppKey,
        /// The release.
        release: u64,
        /// The names of the migrations.
        migrations: Vec<String>,
    },
    /// The maintenance mode is already in the requested state.
    #[error("maintenance mode of {key} is already {}", if *.is_on { "on" } else { "off" })]
    MaintainedAlready {
        /// The application and environment.
        key: AppKey,
        /// The state of the maintenance mode.
        is_on: bool,
    },
    /// No deployment is active that could be aborted.
    #[error("no deployment of {key} is under way; `gapless history` lists those that have ended")]
    NothingUnderWay {
        /// The application and environment.
        key: AppKey,
    },
    /// The deployment has ended.
    #[error("deployment {deployment} of {key} has already ended ({phase})")]
    Over {
        /// The application and environment.
        key: AppKey,
        /// The number of the deployment.
        deployment: u64,
        /// The outcome of the deployment.
        phase: &'static str,
    },
    /// No earlier release exists.
    #[error("{key} has no earlier release to go back to; `gapless history` lists its deployments")]
    NoEarlierRelease {
        /// The application and environment.
        key: AppKey,
    },
    /// The release is live.
    #[error("release {release} of {key} is live already; `gapless history` lists the earlier ones")]
    LiveAlready {
        /// The application and environment.
        key: AppKey,
        /// The release.
        release: u64,
    },
    /// Nothing of the application is live.
    #[error("nothing of {key} is live; run `gapless deploy` first")]
    NothingLive {
        /// The application and environment.
        key: AppKey,
    },
    /// The environment accepts only promotions.
    #[error(
        "{key} takes only what has succeeded in {}: `gapless promote --from {} --to {}`, or `gapless deploy --force`",
        names(.requires), .requires[0], .key.env
    )]
    MustBePromoted {
        /// The application and environment.
        key: AppKey,
        /// The environments that it requires; at least one.
        requires: Vec<EnvName>,
    },
    /// The release to promote has not succeeded where it must.
    #[error("{key} cannot be promoted: {why}")]
    NotProven {
        /// The application and the environment to promote from.
        key: AppKey,
        /// The missing condition.
        why: String,
    },
    /// The deployment does not wait for an approval.
    #[error("deployment {deployment} of {key} does not wait for an approval: it is {phase}")]
    NotWaiting {
        /// The application and environment.
        key: AppKey,
        /// The number of the deployment.
        deployment: u64,
        /// The phase of the deployment.
        phase: &'static str,
    },
    /// The deployment is in no canary step.
    #[error("deployment {deployment} of {key} is in no canary step: it is {phase}")]
    NoCanary {
        /// The application and environment.
        key: AppKey,
        /// The number of the deployment.
        deployment: u64,
        /// The phase of the deployment.
        phase: &'static str,
    },
    /// The canary is already in the requested state.
    #[error("the canary of deployment {deployment} of {key} {how}")]
    SteeredAlready {
        /// The application and environment.
        key: AppKey,
        /// The number of the deployment.
        deployment: u64,
        /// The present state.
        how: String,
    },
    /// The share is not one that a canary can have.
    #[error("a canary's share is from 0 to 99 %, not {0} %; `gapless promote` sends all requests to the new release")]
    Weight(u8),
    /// The person has already approved the deployment.
    #[error("{by} has approved deployment {deployment} of {key} already; it still needs {missing} more")]
    ApprovedAlready {
        /// The application and environment.
        key: AppKey,
        /// The number of the deployment.
        deployment: u64,
        /// The name of the person.
        by: String,
        /// The number of missing approvals.
        missing: usize,
    },
    /// The requester's own approval does not count.
    #[error("{by} asked for deployment {deployment} of {key}; someone else must approve it (approval.by_others)")]
    OwnDeployment {
        /// The application and environment.
        key: AppKey,
        /// The number of the deployment.
        deployment: u64,
        /// The name of the person.
        by: String,
    },
    /// The queue is full.
    #[error("{count} deployments of {key} wait already; try again when one has ended (`gapless status`)")]
    QueueFull {
        /// The application and environment.
        key: AppKey,
        /// The number of queued deployments.
        count: usize,
    },
    /// The application is being removed.
    #[error("{key} is being removed; try again in a moment")]
    BeingRemoved {
        /// The application and environment.
        key: AppKey,
    },
}

fn names(envs: &[EnvName]) -> String {
    envs.iter().map(EnvName::as_str).collect::<Vec<_>>().join(" and ")
}
