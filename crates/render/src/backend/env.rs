//! Keys from environment variables: `/a/b` is `A_B`, and `A_B_C` is `/a/b/c`.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// The variables whose names begin with one of the keys, as in confd: `/a` matches `A_B` and `AB` as well.
pub fn values(variables: impl Iterator<Item = (OsString, OsString)>, keys: &[String]) -> BTreeMap<String, String> {
    let wanted: Vec<String> = keys.iter().map(|key| variable(key)).collect();
    let mut values = BTreeMap::new();
    for (name, value) in variables {
        if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string())
            && wanted.iter().any(|wanted| name.starts_with(wanted.as_str()))
        {
            values.insert(format!("/{}", name.to_lowercase().replace('_', "/")), value);
        }
    }
    values
}

fn variable(key: &str) -> String {
    key.strip_prefix('/').unwrap_or(key).replace('/', "_").to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::values;

    #[test]
    fn keys_are_upper_case_variables() {
        let variables = [("NGINX_DOMAIN", "example.com"), ("NGINX_A_B", "x=y"), ("OTHER", "no")];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        let found = values(variables.clone().into_iter(), &["/nginx".into()]);
        assert_eq!(found["/nginx/domain"], "example.com");
        assert_eq!(found["/nginx/a/b"], "x=y");
        assert_eq!(found.len(), 2);
        assert_eq!(values(variables.into_iter(), &["/".into()]).len(), 3);
    }
}
