//! The mapping between keys of the store and keys in etcd.

/// The prefix of all keys, and the keys that are stored in etcd without it.
#[derive(Debug, Clone, Default)]
pub(super) struct Layout {
    prefix: String,
    plain_below: Option<String>,
}

impl Layout {
    pub(super) fn new(prefix: String, plain_below: Option<String>) -> Self {
        Layout { prefix, plain_below }
    }

    /// The key, or the prefix, as stored in etcd.
    pub(super) fn in_etcd(&self, key: &str) -> Vec<u8> {
        match self.plain(key) {
            Some(rest) => rest.as_bytes().to_vec(),
            None => [self.prefix.as_bytes(), key.as_bytes()].concat(),
        }
    }

    /// The store's key for the etcd key `in_etcd`, which was found under the prefix `asked`; `None` for keys of other
    /// programs that are not UTF-8.
    pub(super) fn in_store(&self, asked: &str, in_etcd: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(in_etcd).ok()?;
        match (self.plain(asked), &self.plain_below) {
            (Some(_), Some(below)) => Some(format!("{below}{text}")),
            _ => text.strip_prefix(&self.prefix).map(str::to_owned),
        }
    }

    fn plain<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(self.plain_below.as_deref()?).filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// The end of the range of all keys that begin with `prefix`, in etcd's form: the first key after them.
pub(super) fn range_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// The start of the range of `prefix`, in etcd's form: etcd does not accept the empty key.
pub(super) fn range_start(prefix: Vec<u8>) -> Vec<u8> {
    if prefix.is_empty() { vec![0] } else { prefix }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_map_to_etcd_and_back() {
        let layout = Layout::new("/team".to_owned(), Some("/kv".to_owned()));
        for (key, in_etcd) in
            [("/gapless/apps/a", "/team/gapless/apps/a"), ("/kv/a/port", "/a/port"), ("/kvx", "/team/kvx")]
        {
            assert_eq!(layout.in_etcd(key), in_etcd.as_bytes());
            assert_eq!(layout.in_store(key, in_etcd.as_bytes()).as_deref(), Some(key));
        }
        assert_eq!(layout.in_store("/gapless/", b"/team/\xff"), None);
    }

    #[test]
    fn range_ends_after_its_last_key() {
        assert_eq!(range_end(b"/a"), b"/b");
        assert_eq!(range_end(b"a\xff\xff"), b"b");
        assert_eq!(range_end(b""), b"\0");
    }
}
