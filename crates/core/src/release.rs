//! A release: an immutable configuration and the artifacts that it resolved to.

use crate::{EnvName, ServiceName, Spec, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use utoipa::ToSchema;

/// An immutable configuration with its resolved artifacts, numbered per application and environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The release's number, from 1.
    pub number: u64,
    /// The configuration.
    pub spec: Arc<Spec>,
    /// The resolved artifacts; the first deployment of the release sets them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Artifacts>,
    /// The release in another environment that it was promoted from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_from: Option<Origin>,
    /// The configurations of the environments that it is promoted to automatically.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<Arc<Spec>>,
    /// The instant of its submission.
    pub created_at: Timestamp,
    /// The name of the person or program that submitted it.
    pub created_by: String,
}

impl Release {
    /// The release for display: the values of secrets are removed.
    #[must_use]
    pub fn without_secrets(&self) -> Release {
        let shown = |spec: &Arc<Spec>| Arc::new(spec.without_secrets());
        Release { spec: shown(&self.spec), then: self.then.iter().map(shown).collect(), ..self.clone() }
    }
}

/// The resolved artifacts by service: the id of an image, or the checksum of a program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Artifacts(pub BTreeMap<ServiceName, String>);

impl Artifacts {
    /// The artifact of a release whose only service has the default name.
    #[must_use]
    pub fn only(artifact: impl Into<String>) -> Self {
        Artifacts(BTreeMap::from([(ServiceName::default(), artifact.into())]))
    }

    /// The artifact of a service.
    #[must_use]
    pub fn of(&self, service: &ServiceName) -> Option<&str> {
        self.0.get(service).map(String::as_str)
    }
}

impl fmt::Display for Artifacts {
    /// The artifact alone if all services have the same; otherwise each with its service's name in front.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut artifacts = self.0.values();
        if let Some(first) = artifacts.next()
            && artifacts.all(|artifact| artifact == first)
        {
            return f.write_str(first);
        }
        for (at, (service, artifact)) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{service} {artifact}")?;
        }
        Ok(())
    }
}

/// The release in another environment that a promoted release comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The environment.
    pub env: EnvName,
    /// The number of the release there.
    pub release: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Process, Workload};

    #[test]
    fn artifacts_show_services_only_if_they_differ() {
        let of = |artifacts: &[(&str, &str)]| {
            let artifacts = artifacts.iter().map(|(service, it)| (service.parse().unwrap(), (*it).to_owned()));
            Artifacts(artifacts.collect())
        };
        assert_eq!(Artifacts::only("sha:1").to_string(), "sha:1");
        assert_eq!(of(&[("web", "sha:1"), ("worker", "sha:1")]).to_string(), "sha:1");
        let two = of(&[("web", "sha:1"), ("worker", "sha:2")]);
        assert_eq!(two.to_string(), "web sha:1, worker sha:2");
        assert_eq!(two.of(&"worker".parse().unwrap()), Some("sha:2"));
        assert_eq!((two.of(&"none".parse().unwrap()), of(&[]).to_string()), (None, String::new()));
    }

    #[test]
    fn release_without_secrets_shows_no_secret() {
        let process = Process { command: vec!["/bin/shop".into()], directory: "/".into(), user: None };
        let mut spec = Spec::new("shop/production".parse().unwrap(), Workload::Process(process), 9000);
        let web = spec.services.get_mut("web").unwrap();
        web.variables = [("TOKEN".to_owned(), "hidden".to_owned()), ("PLAIN".to_owned(), "shown".to_owned())].into();
        web.secrets = ["TOKEN".to_owned()].into();
        let spec = Arc::new(spec);
        let release = Release {
            number: 1,
            then: vec![Arc::clone(&spec)],
            spec,
            artifacts: None,
            promoted_from: None,
            created_at: Timestamp(1),
            created_by: "x".into(),
        };
        let shown = serde_json::to_string(&release.without_secrets()).unwrap();
        assert!(!shown.contains("hidden") && shown.matches("shown").count() == 2, "{shown}");
        assert_eq!(release.without_secrets().number, 1);
    }
}
