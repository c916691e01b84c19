//! Functions for keys: `exists`, `get`, `gets`, `getv`, `getvs`, `ls`, `lsdir`.

use super::arguments::text;
use super::pair::{PAIR, missing, pair};
use crate::keys::Keys;
use gapless_gotemplate::{Element, Function, Functions, Value};
use std::sync::Arc;

pub fn add(functions: &mut Functions, keys: &Arc<Keys>) {
    let with = |call: fn(&Keys, &[Value]) -> Result<Value, String>| {
        let keys = Arc::clone(keys);
        move |values: &[Value]| call(&keys, values)
    };
    functions.insert(
        "exists",
        Function::new(1, with(|keys, values| Ok(Value::Bool(keys.get(text(&values[0])?).is_some())))),
    );
    functions.insert("get", Function::new(1, with(get)));
    functions.insert("gets", Function::new(1, with(gets)));
    functions.insert("getv", Function::variadic(1, with(getv)));
    functions.insert("getvs", Function::new(1, with(getvs)));
    functions.insert("ls", Function::new(1, with(|keys, values| Ok(Value::texts(keys.list(text(&values[0])?))))));
    functions
        .insert("lsdir", Function::new(1, with(|keys, values| Ok(Value::texts(keys.list_folders(text(&values[0])?))))));
}

fn get(keys: &Keys, values: &[Value]) -> Result<Value, String> {
    let key = text(&values[0])?;
    keys.get(key).map(|value| pair(key, value)).ok_or_else(|| missing(key))
}

fn gets(keys: &Keys, values: &[Value]) -> Result<Value, String> {
    let found = keys.matching(text(&values[0])?).map_err(|error| error.to_string())?;
    Ok(Value::list(Element::Struct(PAIR), found.into_iter().map(|(key, value)| pair(key, value)).collect()))
}

fn getv(keys: &Keys, values: &[Value]) -> Result<Value, String> {
    let key = text(&values[0])?;
    match (keys.get(key), values.get(1)) {
        (Some(value), _) => Ok(Value::from(value)),
        (None, Some(default)) => Ok(Value::from(text(default)?)),
        (None, None) => Err(missing(key)),
    }
}

fn getvs(keys: &Keys, values: &[Value]) -> Result<Value, String> {
    let found = keys.matching(text(&values[0])?).map_err(|error| error.to_string())?;
    let mut found: Vec<&str> = found.into_iter().map(|(_, value)| value).collect();
    found.sort_unstable();
    Ok(Value::texts(found))
}
