//! Why something that was asked for is not done, told so that people know what to do instead.

use crate::{AppKey, EnvName};

/// Why something that was asked for is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Another deployment is under way, and what was asked for would get into its way.
    #[error("deployment {deployment} of {key} is {phase}; wait for it, or end it with `gapless abort`")]
    Busy {
        /// The application and environment.
        key: AppKey,
        /// The number of the deployment.
        deployment: u64,
        /// Where it is.
        phase: &'static str,
    },
    /// What was migrated since would have to be undone, and nobody said how.
    #[error(
        "release {release} of {key} is from before what was migrated since: {}; it may not work with that. If it does, \
         `--force`; and give a migration a `back` for the next time", .migrations.join(", ")
    )]
    PastMigration {
        /// The application and environment.
        key: AppKey,
        /// The release.
        release: u64,
        /// The names of the migrations.
        migrations: Vec<String>,
    },
    /// It is so already.
    #[error("{key} is {} maintenance already", if *.is_on { "under" } else { "out of" })]
    MaintainedAlready {
        /// The application and environment.
        key: AppKey,
        /// Whether it is under maintenance.
        is_on: bool,
    },
    /// There is nothing to abort.
    #[error("no deployment of {key} is under way")]
    NothingUnderWay {
        /// The application and environment.
        key: AppKey,
    },
    /// The deployment is over.
    #[error("deployment {deployment} of {key} is over: it {phase}")]
    Over {
        /// The application and environment.
        key: AppKey,
        /// The number of the deployment.
        deployment: u64,
        /// How it ended.
        phase: &'static str,
    },
    /// There is no earlier release.
    #[error("{key} has no earlier release to go back to")]
    NoEarlierRelease {
        /// The application and environment.
        key: AppKey,
    },
    /// The release is live already.
    #[error("release {release} of {key} is live already")]
    LiveAlready {
        /// The application and environment.
        key: AppKey,
        /// The release.
        release: u64,
    },
    /// Nothing of the application is live.
    #[error("nothing of {key} is live; `gapless deploy` it first")]
    NothingLive {
        /// The application and environment.
        key: AppKey,
    },
    /// The environment takes nothing but what has succeeded elsewhere.
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
    /// What was to be promoted is not what has succeeded.
    #[error("{key} cannot be promoted: {why}")]
    NotProven {
        /// The application and the environment where it would have to have succeeded.
        key: AppKey,
        /// Why it has not.
        why: String,
    },
    /// The deployment does not wait for anybody's approval.
    #[error("deployment {deployment} of {key} does not wait for an approval: it is {phase}")]
    NotWaiting {
        /// The application and environment.
        key: AppKey,
        /// The number of the deployment.
        deployment: u64,
        /// Where it is.
        phase: &'static str,
    },
    /// There is no canary under way.
    #[error("deployment {deployment} of {key} is in no canary step: it is {phase}")]
    NoCanary {
        /// The application and environment.
        key: AppKey,
        /// The number of the deployment.
        deployment: u64,
        /// Where it is.
        phase: &'static str,
    },
    /// What is asked for is so already.
    #[error("the canary of deployment {deployment} of {key} {how}")]
    SteeredAlready {
        /// The application and environment.
        key: AppKey,
        /// The number of the deployment.
        deployment: u64,
        /// How it is.
        how: String,
    },
    /// A share is at most all.
    #[error("{0} % is no share of the requests that a canary can have: from 0 to 99; `gapless promote` gives it all")]
    Weight(u8),
    /// Nobody counts twice.
    #[error("{by} has approved deployment {deployment} of {key} already; {missing} more must")]
    ApprovedAlready {
        /// The application and environment.
        key: AppKey,
        /// The number of the deployment.
        deployment: u64,
        /// Who.
        by: String,
        /// How many are missing.
        missing: usize,
    },
    /// Others must approve it.
    #[error("{by} asked for deployment {deployment} of {key}; someone else must approve it (approval.by_others)")]
    OwnDeployment {
        /// The application and environment.
        key: AppKey,
        /// The number of the deployment.
        deployment: u64,
        /// Who.
        by: String,
    },
    /// The queue is full.
    #[error("{count} deployments of {key} wait already; try again when some are over")]
    QueueFull {
        /// The application and environment.
        key: AppKey,
        /// How many wait.
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
