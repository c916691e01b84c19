//! Functions for encrypted values: `cget`, `cgets`, `cgetv`, `cgetvs`. A value is an OpenPGP message for a key of the
//! keyring, in base64, with a gzip-compressed content, as confd's companion `crypt` writes it.

use super::arguments::text;
use super::pair::{PAIR, missing, pair};
use crate::keys::Keys;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gapless_gotemplate::{Element, Function, Functions, Value};
use pgp::composed::{Deserializable, Message, SignedSecretKey};
use pgp::types::Password;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

/// The largest decrypted value in bytes: etcd's values have at most 1.5 MiB, and compression must not expand to far
/// more.
const LARGEST_BYTES: u64 = 16 << 20;

/// The secret keys that decrypt values.
pub struct Keyring {
    keys: Vec<SignedSecretKey>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("keys", &self.keys.len()).finish()
    }
}

/// An unusable keyring.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The keyring cannot be read.
    #[error("the secret keyring {0} cannot be read: {1}")]
    Unreadable(String, std::io::Error),
    /// The keyring has no key.
    #[error("{0} is not a secret keyring; write an armored one with `gpg --armor --export-secret-keys` ({1})")]
    NoKeys(String, String),
}

impl Keyring {
    /// Reads an armored keyring.
    ///
    /// # Errors
    /// If the file cannot be read or has no secret key.
    pub fn read(path: &Path) -> Result<Keyring, KeyringError> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| KeyringError::Unreadable(name.clone(), error))?;
        let no_keys = |error: String| KeyringError::NoKeys(name.clone(), error);
        let (keys, _) =
            SignedSecretKey::from_armor_many(Cursor::new(bytes)).map_err(|error| no_keys(error.to_string()))?;
        let keys: Result<Vec<_>, _> = keys.collect();
        let keys = keys.map_err(|error| no_keys(error.to_string()))?;
        if keys.is_empty() { Err(no_keys("it is empty".into())) } else { Ok(Keyring { keys }) }
    }

    /// The decrypted value.
    fn decrypt(&self, value: &str) -> Result<String, String> {
        let without_spaces: String = value.split_whitespace().collect();
        let bytes = STANDARD.decode(without_spaces).map_err(|_| "the value is not encrypted: it is not base64")?;
        for key in &self.keys {
            // The message is parsed again for each key: an attempt consumes it.
            let message = Message::from_bytes(Cursor::new(bytes.clone()))
                .map_err(|error| format!("the value is not encrypted: {error}"))?;
            let Ok(decrypted) = message.decrypt(&Password::empty(), key) else { continue };
            let mut decrypted = if decrypted.is_compressed() {
                decrypted.decompress().map_err(|error| format!("the value is damaged: {error}"))?
            } else {
                decrypted
            };
            let packed = decrypted.as_data_vec().map_err(|error| format!("the value is damaged: {error}"))?;
            let mut plain = String::new();
            let mut unpacked = flate2::read::GzDecoder::new(packed.as_slice()).take(LARGEST_BYTES);
            unpacked.read_to_string(&mut plain).map_err(|error| format!("the value is damaged: {error}"))?;
            return Ok(plain);
        }
        Err("no key of the secret keyring decrypts the value".into())
    }
}

pub fn add(functions: &mut Functions, keys: &Arc<Keys>, keyring: Option<&Arc<Keyring>>) {
    let with = |call: fn(&Keys, &Keyring, &str) -> Result<Value, String>| {
        let keys = Arc::clone(keys);
        let keyring = keyring.map(Arc::clone);
        Function::new(1, move |values: &[Value]| {
            let keyring = keyring.as_deref().ok_or("needs a secret keyring; set -secret-keyring")?;
            call(&keys, keyring, text(&values[0])?)
        })
    };
    functions.insert(
        "cget",
        with(|keys, keyring, key| {
            let value = keys.get(key).ok_or_else(|| missing(key))?;
            Ok(pair(key, &keyring.decrypt(value)?))
        }),
    );
    functions.insert(
        "cgetv",
        with(|keys, keyring, key| Ok(keyring.decrypt(keys.get(key).ok_or_else(|| missing(key))?)?.into())),
    );
    functions.insert(
        "cgets",
        with(|keys, keyring, pattern| {
            let found = decrypted(keys, keyring, pattern)?;
            Ok(Value::list(Element::Struct(PAIR), found.iter().map(|(key, value)| pair(key, value)).collect()))
        }),
    );
    functions.insert(
        "cgetvs",
        // In the order of the encrypted values, as in confd.
        with(|keys, keyring, pattern| {
            let mut found = keys.matching(pattern).map_err(|error| error.to_string())?;
            found.sort_unstable_by_key(|(_, value)| *value);
            let values: Result<Vec<String>, String> =
                found.into_iter().map(|(_, value)| keyring.decrypt(value)).collect();
            Ok(Value::texts(values?))
        }),
    );
}

fn decrypted(keys: &Keys, keyring: &Keyring, pattern: &str) -> Result<Vec<(String, String)>, String> {
    let found = keys.matching(pattern).map_err(|error| error.to_string())?;
    found.into_iter().map(|(key, value)| Ok((key.to_owned(), keyring.decrypt(value)?))).collect()
}
