//! Operations that only read: the plan of a deployment, and single records.

use super::{OperationError, Operations, PLANNED_FROM};
use crate::records::Versioned;
use gapless_core::plan::Plan;
use gapless_core::{AppKey, Application, Artifacts, Deployment, Release, Spec};

impl Operations {
    /// The changes that a deployment of `spec` would make, and its steps.
    ///
    /// # Errors
    /// If the data plane does not support the specification, or the store does not answer.
    pub async fn plan(&self, key: &AppKey, spec: &Spec) -> Result<Plan, OperationError> {
        self.check(spec)?;
        let app = self.shared.records.application(key).await?.map(|app| app.record);
        let history = self.shared.records.deployments(key, u64::MAX, PLANNED_FROM).await?;
        // A failed look-up makes the artifacts unknown: the deployment itself reports the reason.
        let runtime = self.shared.runtimes.of(spec);
        let mut artifacts = Some(Artifacts::default());
        for (name, service) in &spec.services {
            let artifact = runtime.look_up(&service.workload).await.ok().flatten();
            artifacts = artifacts.zip(artifact).map(|(mut artifacts, artifact)| {
                artifacts.0.insert(name.clone(), artifact);
                artifacts
            });
        }
        Ok(Plan::new(app.as_ref(), spec, artifacts, &history))
    }

    /// The record of an application.
    ///
    /// # Errors
    /// If the application does not exist.
    pub async fn application(&self, key: &AppKey) -> Result<Versioned<Application>, OperationError> {
        let found = self.shared.records.application(key).await?;
        found.ok_or_else(|| OperationError::NoApplication(key.clone()))
    }

    /// A deployment of an application.
    ///
    /// # Errors
    /// If the application has no deployment of that number.
    pub async fn deployment(&self, key: &AppKey, number: u64) -> Result<Versioned<Deployment>, OperationError> {
        let found = self.shared.records.deployment(key, number).await?;
        match found {
            Some(deployment) => Ok(deployment),
            None => {
                self.application(key).await?;
                Err(OperationError::NoDeployment(key.clone(), number))
            }
        }
    }

    /// A release of an application.
    ///
    /// # Errors
    /// If the application has no release of that number.
    pub async fn release(&self, key: &AppKey, number: u64) -> Result<Release, OperationError> {
        let found = self.shared.records.release(key, number).await?;
        match found {
            Some(release) => Ok(release.record),
            None => {
                self.application(key).await?;
                Err(OperationError::NoRelease(key.clone(), number))
            }
        }
    }

    /// The active deployment.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn active(&self, app: &Application) -> Result<Option<Deployment>, OperationError> {
        let Some(claim) = &app.active else { return Ok(None) };
        Ok(self.shared.records.deployment(&app.key, claim.deployment).await?.map(|found| found.record))
    }

    /// An application and its active deployment, consistent with each other. The two are read one after the other: a
    /// deployment that ended meanwhile gave up its claim in the same transaction, so both are read again.
    ///
    /// # Errors
    /// If there is no such application, or the store does not answer.
    pub async fn application_and_active(
        &self,
        key: &AppKey,
    ) -> Result<(Versioned<Application>, Option<Deployment>), OperationError> {
        loop {
            let app = self.application(key).await?;
            let active = self.active(&app.record).await?;
            if active.as_ref().is_none_or(|active| !active.phase.is_end()) {
                return Ok((app, active));
            }
        }
    }
}
