//! Events of systemd about changed units.

use super::manager::{Manager, ManagerError, UNITS};
use super::unit;
use crate::process::folder::{self, Folders, Plan};
use crate::{RuntimeError, RuntimeEvent};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use gapless_core::InstanceName;
use std::collections::HashMap;
use std::num::NonZero;
use zbus::{MatchRule, Message, MessageStream, OwnedVariant, message};

/// Events that a subscriber may lag behind before it misses some.
const EVENTS_WAITING_MAX: NonZero<usize> = NonZero::<usize>::MIN.saturating_add(1023);

/// The events of all instances, until systemd or the bus goes away.
pub(super) async fn events(folders: Folders) -> Result<BoxStream<'static, RuntimeEvent>, ManagerError> {
    let connection = Manager::listener().await?;
    let unreachable = |error: zbus::Error| ManagerError::Unreachable(error.to_string());
    let rule = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .interface("org.freedesktop.DBus.Properties")
        .member("PropertiesChanged")
        .path_namespace(UNITS)
        .build()
        .map_err(unreachable)?;
    let messages =
        MessageStream::for_match_rule(rule, &connection, Some(EVENTS_WAITING_MAX)).await.map_err(unreachable)?;
    // The manager is dropped with the stream, which ends the subscription.
    let events = messages.filter_map(move |message| {
        let _connection = &connection;
        let change = message.ok().and_then(|message| changed_unit(&message));
        let folders = folders.clone();
        async move {
            let (unit, what) = change?;
            let name = folders.blocking(move |folders| instance(folders, &unit)).await.ok()??;
            Some(RuntimeEvent { name, what: what.to_owned() })
        }
    });
    Ok(events.boxed())
}

/// A unit that could be an instance's, and its change.
fn changed_unit(message: &Message) -> Option<(String, &'static str)> {
    let header = message.header();
    let unit = unescaped(header.path()?.as_str().strip_prefix(UNITS)?.strip_prefix('/')?)?;
    unit::port(&unit)?;
    let body = message.body();
    let (interface, changed, _): (String, HashMap<String, OwnedVariant>, Vec<String>) = body.deserialize().ok()?;
    if interface != "org.freedesktop.systemd1.Unit" {
        return None;
    }
    let what = match <&str>::try_from(&**changed.get("SubState")?).ok()? {
        "running" => "start",
        "exited" | "failed" | "dead" | "auto-restart" => "die",
        _ => return None,
    };
    Some((unit, what))
}

/// The instance of a unit.
fn instance(folders: &Folders, unit: &str) -> Result<Option<InstanceName>, RuntimeError> {
    for name in folders.names()? {
        if folder::read::<Plan>(&folders.plan(&name))?.is_some_and(|plan| unit::name(&plan) == unit) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Unescapes a label of an object path: `_2e` is a full stop.
fn unescaped(label: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = label.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'_' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_name_is_parsed_from_object_path() {
        let unit = unescaped("shop_2dblue_409001_2eservice").unwrap();
        assert_eq!(unit, "shop-blue@9001.service");
        assert_eq!(unit::port(&unit), Some(9001));
        assert_eq!(unit::port("getty@tty1.service"), None);
        assert_eq!(unescaped("broken_2"), None);
    }
}
