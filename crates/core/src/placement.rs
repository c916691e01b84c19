//! The identities of placements and instances. Both are functions of application, environment, slot and deployment, so
//! every action on them can be repeated.

use crate::{AppKey, NameError, ServiceName, Slot};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The identity of the release that one deployment put into one slot. A slot is filled again and again, and each
/// filling is a placement of its own: a request, a pooled connection or a container of an earlier placement never
/// counts as one of the present placement.
///
/// Written `app/env/slot/deployment`, such as `shop/production/blue/7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PlacementId {
    /// The application and environment.
    pub key: AppKey,
    /// The slot.
    pub slot: Slot,
    /// The number of the deployment that filled the slot.
    pub deployment: u64,
}

impl PlacementId {
    /// The name of the instance `replica`, from 1, of `service`.
    #[must_use]
    pub fn instance(&self, service: &ServiceName, replica: u16) -> InstanceName {
        InstanceName { placement: self.clone(), service: service.clone(), replica }
    }
}

impl fmt::Display for PlacementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.key, self.slot, self.deployment)
    }
}

impl FromStr for PlacementId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fail = || NameError::new("placement", text, "is not of the form `app/env/slot/deployment`");
        let [app, env, slot, deployment] = split(text, '/').ok_or_else(fail)?;
        Ok(PlacementId {
            key: AppKey::new(app.parse()?, env.parse()?),
            slot: slot.parse()?,
            deployment: deployment.parse().map_err(|_| fail())?,
        })
    }
}

impl TryFrom<String> for PlacementId {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<PlacementId> for String {
    fn from(id: PlacementId) -> String {
        id.to_string()
    }
}

/// The name of an instance, also of its container, its files and its log:
/// `app.env.slot.deployment.service.replica`, such as `shop.production.blue.7.web.1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceName {
    /// The placement of the instance.
    pub placement: PlacementId,
    /// The service that it is an instance of.
    pub service: ServiceName,
    /// The instance's number within its service, from 1.
    pub replica: u16,
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PlacementId { key, slot, deployment } = &self.placement;
        write!(f, "{}.{}.{slot}.{deployment}.{}.{}", key.app, key.env, self.service, self.replica)
    }
}

impl FromStr for InstanceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let form = "is not of the form `app.env.slot.deployment.service.replica`";
        let fail = || NameError::new("instance name", text, form);
        let [app, env, slot, deployment, service, replica] = split(text, '.').ok_or_else(fail)?;
        Ok(InstanceName {
            placement: PlacementId {
                key: AppKey::new(app.parse()?, env.parse()?),
                slot: slot.parse()?,
                deployment: deployment.parse().map_err(|_| fail())?,
            },
            service: service.parse()?,
            replica: replica.parse().map_err(|_| fail())?,
        })
    }
}

impl TryFrom<String> for InstanceName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<InstanceName> for String {
    fn from(name: InstanceName) -> String {
        name.to_string()
    }
}

macro_rules! string_schema {
    ($($name:ident),*) => {$(
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                <String as utoipa::PartialSchema>::schema()
            }
        }
        impl utoipa::ToSchema for $name {}
    )*};
}
string_schema!(PlacementId, InstanceName, AppKey);

fn split<const N: usize>(text: &str, separator: char) -> Option<[&str; N]> {
    text.split(separator).collect::<Vec<_>>().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placement_id_and_instance_name_round_trip_through_text() {
        let id: PlacementId = "shop/production/blue/7".parse().unwrap();
        assert_eq!(id.to_string(), "shop/production/blue/7");
        let name = id.instance(&"api".parse().unwrap(), 2);
        assert_eq!(name.to_string(), "shop.production.blue.7.api.2");
        assert_eq!(name.to_string().parse::<InstanceName>().unwrap(), name);
        for text in
            ["shop.production.blue.7.1", "a.b.c.d.e.f", "shop.production.red.7.web.1", "shop.production.blue.7.web.1.1"]
        {
            assert!(text.parse::<InstanceName>().is_err(), "{text}");
        }
    }
}
