//! What systemd tells of units that change.

use super::manager::{Manager, ManagerError, UNITS};
use super::unit;
use crate::RuntimeEvent;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use std::collections::HashMap;
use std::num::NonZero;
use zbus::{MatchRule, Message, MessageStream, OwnedVariant, message};

/// Events that a follower may be behind before it misses some.
const EVENTS_WAITING_MAX: NonZero<usize> = NonZero::<usize>::MIN.saturating_add(1023);

/// The events of all instances, until systemd or the bus goes away.
pub(super) async fn events() -> Result<BoxStream<'static, RuntimeEvent>, ManagerError> {
    let connection = Manager::listener().await?;
    let away = |error: zbus::Error| ManagerError::Away(error.to_string());
    let rule = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .interface("org.freedesktop.DBus.Properties")
        .member("PropertiesChanged")
        .path_namespace(UNITS)
        .build()
        .map_err(away)?;
    let messages = MessageStream::for_match_rule(rule, &connection, Some(EVENTS_WAITING_MAX)).await.map_err(away)?;
    // Its end would be that of the stream.
    let events = messages.filter_map(move |message| {
        let _held = &connection;
        std::future::ready(message.ok().and_then(|message| event(&message)))
    });
    Ok(events.boxed())
}

fn event(message: &Message) -> Option<RuntimeEvent> {
    let header = message.header();
    let unit = unescaped(header.path()?.as_str().strip_prefix(UNITS)?.strip_prefix('/')?)?;
    let name = unit::instance(&unit)?;
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
    Some(RuntimeEvent { name, what: what.to_owned() })
}

/// The name that a label in an object's path stands for: `_2e` is a full stop.
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
    fn a_path_says_which_instance_it_is() {
        let unit = unescaped("gapless_2dshop_2eproduction_2eblue_2e1_2eweb_2e1_2eservice").unwrap();
        assert_eq!(unit, "gapless-shop.production.blue.1.web.1.service");
        assert_eq!(unit::instance(&unit).unwrap().to_string(), "shop.production.blue.1.web.1");
        assert_eq!(unescaped("broken_2"), None);
    }
}
