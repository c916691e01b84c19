//! Values that are encrypted: `cget`, `cgets`, `cgetv`, `cgetvs`. Each is an OpenPGP message for a key of the keyring,
//! in base64, and what is in it is compressed by gzip, as confd's companion `crypt` stores them.

use super::keys::{PAIR, missing, pair};
use super::text;
use crate::keys::Keys;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gapless_gotemplate::{Element, Function, Functions, Value};
use pgp::composed::{Deserializable, Message, SignedSecretKey};
use pgp::types::Password;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

/// No decrypted value is larger: a value of etcd has 1.5 MiB at most, and compression is not to make more of it.
const LARGEST_BYTES: u64 = 16 << 20;

/// The secret keys that values are decrypted with.
pub struct Keyring {
    keys: Vec<SignedSecretKey>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("keys", &self.keys.len()).finish()
    }
}

/// Why a keyring cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// It cannot be read.
    #[error("the secret keyring {0} cannot be read: {1}")]
    Unreadable(String, std::io::Error),
    /// There is no key in it.
    #[error("{0} is no secret keyring: it must be armored, as `gpg --armor --export-secret-keys` writes it ({1})")]
    NoKeys(String, String),
}

impl Keyring {
    /// Reads an armored keyring.
    ///
    /// # Errors
    /// If there is none.
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

    /// What a value says.
    fn decrypt(&self, value: &str) -> Result<String, String> {
        let without_spaces: String = value.split_whitespace().collect();
        let bytes = STANDARD.decode(without_spaces).map_err(|_| "the value is not encrypted: it is not base64")?;
        for key in &self.keys {
            // The message is read anew for each key: trying one uses it up.
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
            let keyring = keyring.as_deref().ok_or("needs a secret keyring: give one with -secret-keyring")?;
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
