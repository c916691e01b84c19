//! The recipe that the project grew from, on etcd, nginx and systemd.

#[test]
fn documentation_shows_the_tested_files() {
    let read = |path: &str| std::fs::read_to_string(format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let document = read("docs/from-the-recipe.md");
    for path in ["examples/from-the-recipe/gapless.toml", "examples/from-the-recipe/server.toml"] {
        let text: String = read(path)
            .lines()
            .filter(|line| !line.starts_with('#'))
            .fold(String::new(), |text, line| text + line + "\n");
        assert!(document.contains(text.trim()), "{path} differs from docs/from-the-recipe.md:\n{text}");
    }
}

#[test]
fn recipe_agrees_everywhere_over_ten_deploys() {
    let walked = gapless_scenarios::recipe::walk(10);
    println!("{walked:?}");
    assert_eq!((walked.deploys, walked.failed), (10, 0), "{walked:?}");
    assert!(walked.disagreements.is_empty(), "{walked:#?}");
    assert!(walked.requests > 1000, "{walked:?}");
}
