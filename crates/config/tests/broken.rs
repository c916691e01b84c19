//! The errors of wrong files as users see them: each file in `broken/`, with its errors in `snapshots/`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use gapless_config::{ConfigError, LoadOptions, load, parse};
use miette::{GraphicalReportHandler, GraphicalTheme};
use std::fs;
use std::path::Path;

/// The errors on a narrow terminal without colours.
fn rendered(error: &ConfigError) -> String {
    let mut text = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(100)
        .render_report(&mut text, error)
        .unwrap();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn options() -> LoadOptions {
    LoadOptions { search_path: Some("/nowhere".into()), ..LoadOptions::default() }
}

#[test]
fn parse_shows_all_errors_of_every_broken_file() {
    let mut files: Vec<_> = fs::read_dir("tests/broken").unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 40, "only {} files", files.len());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let error = parse(&text, "gapless.toml", Path::new("/srv/shop"), &options())
            .expect_err(&format!("{} must be refused", file.display()));
        assert!(error.problems().len() <= 20);
        let name = file.file_stem().unwrap().to_str().unwrap();
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, rendered(&error));
        });
    }
}

#[test]
fn problem_has_file_line_and_column() {
    let text = "name = \"shop\"\nimage = \"shop:1\"\n\nport = \"ü\"\nhosts = [\"ü\", \"a:80\"]\n";
    let error = parse(text, "gapless.toml", Path::new("/srv/shop"), &options()).unwrap_err();
    let places: Vec<_> = error.problems().iter().map(|problem| (problem.file().unwrap(), problem.position())).collect();
    let expected = [(4, 8), (5, 10), (5, 15)].map(|position| ("gapless.toml", Some(position)));
    assert_eq!(places, expected);
    assert_eq!(error.to_string(), "gapless.toml cannot be used: 3 problems");
}

#[test]
fn errors_of_env_files_show_no_values() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.env"), "# secrets\nTOKEN=hunter2\nPASSWORD='hunter2\nMY-KEY=hunter2\nhunter2\n")
        .unwrap();
    let text = "name = \"shop\"\nimage = \"shop:1\"\nport = 3000\nenv_files = [\"bad.env\"]\n";
    let error = parse(text, "gapless.toml", folder.path(), &options()).unwrap_err();
    let shown = rendered(&error);
    assert!(!shown.contains("hunter2"), "{shown}");
    insta::assert_snapshot!("errors_of_env_files_show_no_values", shown);
}

#[test]
fn parse_refuses_image_for_a_process() {
    let options = LoadOptions { image: Some("shop:2".to_owned()), ..options() };
    let error =
        parse("name = \"shop\"\ncommand = [\"/bin/sh\"]", "gapless.toml", Path::new("/"), &options).unwrap_err();
    insta::assert_snapshot!("parse_refuses_image_for_a_process", rendered(&error));
}

#[test]
fn load_advises_when_file_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gapless.toml");
    let shown = |path: &Path| {
        let error = load(path, &options()).unwrap_err();
        let problem = &error.problems()[0];
        format!("{problem}; {}", problem.advice().unwrap()).replace(folder.path().to_str().unwrap(), "FOLDER")
    };
    assert_eq!(
        shown(&path),
        "there is no file FOLDER/gapless.toml; write one with `gapless init`, or name another with `--config`"
    );
    fs::write(&path, b"name = \"shop\"\nimage = \"\xff\"\n").unwrap();
    assert_eq!(
        shown(&path),
        "FOLDER/gapless.toml is not UTF-8 text: line 2 has other bytes; save it as UTF-8 in your editor"
    );
    fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(shown(&path).starts_with("FOLDER/gapless.toml is not a file of at most 1 MiB"));
    assert!(shown(folder.path()).starts_with("FOLDER is not a file of at most 1 MiB"));
}
