//! Keys and values: a read returns what was put, and a prefix finds exactly the keys that begin with it.

use super::{commit, keys_under, revision};
use crate::{Entry, KEY_BYTES_MAX, Store, StoreError, TXN_BYTES_MAX, Txn, VALUE_BYTES_MAX};

pub(super) async fn are_returned_as_they_were_put(store: &impl Store) {
    assert_eq!(store.get("/a").await.unwrap(), None, "a fresh store is empty");
    assert_eq!(store.range("").await.unwrap().entries, []);

    let first = commit(store, Txn::new().put("/a", "one")).await;
    let second = commit(store, Txn::new().put("/a", "two")).await;
    let entry = Entry { key: "/a".to_owned(), value: b"two".to_vec(), create_revision: first, mod_revision: second };
    assert_eq!(store.get("/a").await.unwrap(), Some(entry.clone()));
    let range = store.range("/a").await.unwrap();
    assert_eq!((range.entries, range.revision), (vec![entry], second));
    assert_eq!(store.get("/").await.unwrap(), None, "a prefix of a key is not the key");
    assert_eq!(store.get("/ab").await.unwrap(), None);
}

pub(super) async fn are_found_by_prefix_exactly_and_in_order(store: &impl Store) {
    let sorted = ["/a", "/a/", "/a/1", "/a/10", "/a/2", "/a0", "/aa", "/b", "0", "A", "a"];
    for key in sorted.iter().rev() {
        commit(store, Txn::new().put(*key, *key)).await;
    }
    assert_eq!(keys_under(store, "").await, sorted, "the empty prefix finds all keys, ordered by bytes");
    assert_eq!(keys_under(store, "/a/").await, ["/a/", "/a/1", "/a/10", "/a/2"]);
    assert_eq!(keys_under(store, "/a/1").await, ["/a/1", "/a/10"], "a prefix need not end at a slash");
    assert_eq!(keys_under(store, "/b").await, ["/b"]);
    assert_eq!(keys_under(store, "a").await, ["a"], "upper and lower case are not the same");
    assert_eq!(keys_under(store, "/c").await, [""; 0]);
    assert_eq!(keys_under(store, "b").await, [""; 0], "there is no key after the last one");
}

pub(super) async fn of_special_characters_are_only_themselves(store: &impl Store) {
    let keys = [
        "100%",
        "100x",
        "a*c",
        "abc",
        "a?c",
        "a[b]",
        "a_c",
        "a\\c",
        "a'c",
        "a\"c",
        "a;c",
        "a\nc",
        "a c",
        "ä/x",
        "äx",
        "z\u{7f}",
        "z\u{80}",
        "z\u{7ff}",
        "z\u{ffff}",
        "z\u{10ffff}",
        "z\u{10ffff}\u{10ffff}",
        "日本/東京",
        "日本/京都",
    ];
    for key in keys {
        commit(store, Txn::new().put(key, key)).await;
    }
    for key in keys {
        assert_eq!(store.get(key).await.unwrap().map(|entry| entry.value), Some(key.as_bytes().to_vec()), "{key:?}");
    }
    for prefix in ["100%", "a*", "a?", "a[", "a_", "a\\", "a'", "a%", "ä", "ä/", "日本/", "z\u{10ffff}", "z", "%", "_"]
    {
        let mut expected: Vec<&str> = keys.into_iter().filter(|key| key.starts_with(prefix)).collect();
        expected.sort_unstable();
        assert_eq!(keys_under(store, prefix).await, expected, "under {prefix:?}");
    }
}

pub(super) async fn are_rejected_if_invalid(store: &impl Store) {
    let before = revision(store).await;
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    for bad in ["", "a\0b", "\0", &long] {
        let is_refused = |result: Result<(), StoreError>| {
            assert!(matches!(result, Err(StoreError::Invalid(_))), "{bad:.20?}: {result:?}");
        };
        is_refused(store.get(bad).await.map(drop));
        is_refused(store.commit(Txn::new().put(bad, "x")).await.map(drop));
        is_refused(store.commit(Txn::new().delete(bad)).await.map(drop));
        is_refused(store.commit(Txn::new().put("good", "x").put(bad, "x")).await.map(drop));
        is_refused(store.commit(Txn::new().expect(bad, 0).put("good", "x")).await.map(drop));
        is_refused(store.commit(Txn::new().expect_value(bad, "x").put("good", "x")).await.map(drop));
        if !bad.is_empty() {
            is_refused(store.range(bad).await.map(drop));
            is_refused(store.watch(bad, 0).await.map(drop));
        }
    }
    assert_eq!((keys_under(store, "").await, revision(store).await), (vec![], before), "nothing was changed");

    let longest = "k".repeat(KEY_BYTES_MAX);
    commit(store, Txn::new().put(longest.as_str(), "x")).await;
    assert_eq!(keys_under(store, &longest).await, [longest]);
}

pub(super) async fn have_values_of_any_bytes_up_to_the_limit(store: &impl Store) {
    let large: Vec<u8> = (0..VALUE_BYTES_MAX).map(|at| (at * 31 % 251) as u8).collect();
    let values = [("/empty", vec![]), ("/bytes", (0..=255).collect()), ("/large", large)];
    for (key, value) in &values {
        commit(store, Txn::new().put(*key, value.clone())).await;
    }
    for (key, value) in &values {
        assert!(store.get(key).await.unwrap().is_some_and(|entry| entry.value == *value), "{key}");
    }
    let too_large = store.commit(Txn::new().put("/large", vec![0; VALUE_BYTES_MAX + 1])).await;
    assert!(matches!(too_large, Err(StoreError::Invalid(_))), "{too_large:?}");
    let too_large = store
        .commit(
            Txn::new()
                .put("/large", vec![0; VALUE_BYTES_MAX])
                .put("/bytes", vec![0; TXN_BYTES_MAX - VALUE_BYTES_MAX + 1]),
        )
        .await;
    assert!(matches!(too_large, Err(StoreError::Invalid(_))), "{too_large:?}");
    assert!(store.get("/large").await.unwrap().is_some_and(|entry| entry.value == values[2].1));
    let as_much_as_goes = Txn::new().put("/large", vec![0; VALUE_BYTES_MAX]);
    commit(store, as_much_as_goes.put("/rest", vec![0; TXN_BYTES_MAX - VALUE_BYTES_MAX])).await;
}
