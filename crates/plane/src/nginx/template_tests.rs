//! A user's template: the example of the documentation with all kinds of routes, and the messages for wrong templates.

use super::files;
use super::location::Location;
use super::program;
use super::template::{Custom, CustomError};
use super::tests::{canary, group, key, maintained, previewed, route, settings};
use gapless_core::RouteGroup;
use gapless_core::strategy::Choose;
use std::path::PathBuf;

fn example() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/nginx.tmpl")
}

fn custom(text: &str) -> Result<Custom, CustomError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Custom::read(file.path())
}

fn printed(custom: &Custom, group: &RouteGroup) -> Result<String, CustomError> {
    Ok(custom.application(&key(), group, &settings())?.remove(&files::file_of(&key())).unwrap())
}

#[test]
fn example_prints_configuration() {
    insta::assert_snapshot!(printed(&Custom::read(&example()).unwrap(), &previewed()).unwrap());
}

#[tokio::test]
async fn nginx_accepts_example_with_all_kinds_of_routes() {
    let example = Custom::read(&example()).unwrap();
    let mut empty = group();
    empty.slots[0].instances.clear();
    let mut groups = vec![group(), previewed(), maintained(), canary(Choose::Random), empty];
    groups.push(RouteGroup { slots: Vec::new(), ..previewed() });
    groups.push(RouteGroup { slots: Vec::new(), ..group() });
    groups.push(RouteGroup { routes: vec![route("a.b", "/x$y'(1)~;", false, "web")], ..group() });
    for group in groups {
        let files = example.application(&key(), &group, &settings()).unwrap();
        let tested = program::test_alone(&Location::Host, &settings(), &files).await;
        assert_eq!(tested, Ok(()), "{}", files[&files::file_of(&key())]);
    }
}

#[test]
fn template_error_names_its_line() {
    for (text, expected) in [
        ("\n{{ .Live ", ":2:"),
        ("\n\n{{ shell \"x\" }}", "\"shell\" is not defined"),
        ("{{ getenv \"HOME\" }}", "\"getenv\" is not defined"),
    ] {
        let error = custom(text).err().unwrap().to_string();
        assert!(error.contains(expected) && error.contains("continues by itself"), "{error}");
    }
    let error = printed(&custom("x\n{{ .Colour }}").unwrap(), &group()).unwrap_err().to_string();
    assert!(error.contains(":2:") && error.contains("Colour"), "{error}");
    let error = Custom::read("/nowhere/nginx.tmpl".as_ref()).err().unwrap().to_string();
    assert!(error.contains("/nowhere/nginx.tmpl cannot be read"), "{error}");
}

#[test]
fn output_without_live_addresses_or_token_is_rejected() {
    let live = "{{ range .Live }}{{ range .Services }}{{ .Addresses }}{{ end }}{{ end }}";
    let nothing = custom("# nothing").unwrap();
    assert!(matches!(printed(&nothing, &group()), Err(CustomError::NotRouted { slot, .. }) if slot == "green-7"));
    assert!(printed(&nothing, &maintained()).is_ok(), "under maintenance no request is forwarded");
    let live = custom(live).unwrap();
    assert!(printed(&live, &group()).is_ok());
    assert!(matches!(printed(&live, &previewed()), Err(CustomError::NotPreviewed { .. })));
}

#[test]
fn nginx_error_is_shown_with_the_printed_line() {
    let custom = custom("# one\nnonsense {{ (index .Live 0).Services }};\n").unwrap();
    let files = custom.application(&key(), &group(), &settings()).unwrap();
    let why = custom.explain("unknown directive in app-shop.production.conf:3", &key(), &files);
    assert!(why.contains("app-shop.production.conf:3 (`nonsense [{api") && why.contains("the template"), "{why}");
}

#[test]
fn no_value_ends_a_directive() {
    let custom =
        custom("{{ (index (index .Live 0).Services 0).Addresses }}{{ quote \"a\\\"; } b\\\\\" }} {{ regex \"a.b\" }}");
    let printed = printed(&custom.unwrap(), &group()).unwrap();
    assert!(printed.contains(r#""a\"; } b\\" a\.b"#), "{printed}");
}
