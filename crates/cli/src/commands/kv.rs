//! `gapless kv`: reads and writes the user's own keys, and reads the facts that gapless publishes.

use crate::args::{Kv, KvCommand};
use crate::exit::Failure;
use crate::present::json;
use gapless_api::{Client, KvPairs};
use std::collections::BTreeMap;
use std::process::ExitCode;

pub async fn run(args: Kv, client: &Client) -> Result<ExitCode, Failure> {
    match args.command {
        KvCommand::Get { key } => {
            let pairs = client.kv(&key).await?.pairs;
            match pairs.into_iter().find(|pair| pair.key == key) {
                Some(pair) => println!("{}", pair.value),
                None => {
                    return Err(Failure::other(format!("no key {key} exists; `gapless kv ls` lists all keys")));
                }
            }
        }
        KvCommand::Put { key, value } => {
            client.kv_put(key, value).await?;
        }
        KvCommand::Delete { key } => {
            client.kv_delete(&key).await?;
        }
        KvCommand::Ls { prefix, json } => {
            let pairs = client.kv(&prefix).await?;
            if json {
                return json::print(&pairs);
            }
            pairs.pairs.iter().for_each(|pair| println!("{} = {}", pair.key, pair.value));
        }
        KvCommand::Watch { prefix, json } => watch(client, &prefix, json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints all keys, then every change, until the command is interrupted.
async fn watch(client: &Client, prefix: &str, json: bool) -> Result<(), Failure> {
    let mut known = BTreeMap::new();
    let mut now = client.kv(prefix).await?;
    loop {
        let pairs = by_key(&now);
        if json {
            println!("{}", json::line(&now)?);
        } else {
            for (key, value) in pairs.iter().filter(|(key, value)| known.get(*key) != Some(*value)) {
                println!("{key} = {value}");
            }
            known.keys().filter(|key| !pairs.contains_key(*key)).for_each(|key| println!("{key} was removed"));
        }
        let after = now.revision;
        known = pairs;
        loop {
            now = client.kv_watch(prefix, after).await?;
            if by_key(&now) != known || now.revision < after {
                break;
            }
        }
    }
}

fn by_key(pairs: &KvPairs) -> BTreeMap<String, String> {
    pairs.pairs.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect()
}
