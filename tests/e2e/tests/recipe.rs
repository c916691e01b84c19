//! The recipe that the project grew from, on etcd, nginx and systemd.

#[test]
fn the_documentation_has_the_files_that_are_tested() {
    let read = |path: &str| std::fs::read_to_string(format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let document = read("docs/from-the-recipe.md");
    for path in ["examples/from-the-recipe/gapless.toml", "examples/from-the-recipe/server.toml"] {
        let text: String = read(path)
            .lines()
            .filter(|line| !line.starts_with('#'))
            .fold(String::new(), |text, line| text + line + "\n");
        assert!(document.contains(text.trim()), "{path} is not what docs/from-the-recipe.md shows:\n{text}");
    }
}

#[test]
fn the_recipe_deployed_ten_times_agrees_everywhere_and_loses_no_request() {
    let walked = gapless_scenarios::recipe::walk(10);
    println!("{walked:?}");
    assert_eq!((walked.deploys, walked.failed), (10, 0), "{walked:?}");
    assert!(walked.disagreements.is_empty(), "{walked:#?}");
    assert!(walked.requests > 1000, "{walked:?}");
}
