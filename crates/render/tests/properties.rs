//! No text in any input file makes the parsers panic.

#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

use gapless_render::{Backend, BackendSettings, FileSettings};
use proptest::prelude::*;

/// Fragments of YAML in random order.
fn yaml() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "b: ", "- ", "\n", "  ", "[", "]", "{", "}", ",", ": ", "&x ", "*x", "<<: ", "|\n", ">\n", "'", "\"",
        "# c", "---\n", "...\n", "!!str ", "0x1f", "1_0", "-.inf", "~", "yes", "? ", "é", "\t",
    ]);
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_file_of_keys_panics(text in prop_oneof![yaml(), ".{0,60}"]) {
        let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for name in ["keys.yaml", "keys.json"] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join(name);
            std::fs::write(&file, &text).unwrap();
            let settings = BackendSettings::File(FileSettings { files: vec![file], filter: "*".into() });
            let backend = tokio.block_on(Backend::new(settings)).unwrap();
            if let Ok(values) = tokio.block_on(backend.values(&["/".into()])) {
                prop_assert!(values.keys().all(|key| key.starts_with('/')));
            }
        }
    }
}
