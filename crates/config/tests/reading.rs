//! The spec of correct files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use gapless_config::{LoadOptions, Loaded, Runtime, Secrets, TemplateOptions, load, parse, template};
use gapless_core::spec::{HealthCheck, Service, Timing, Workload};
use gapless_core::strategy::Choose;
use gapless_core::{Millis, Spec};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn read(text: &str, folder: &Path, options: &LoadOptions) -> Loaded {
    parse(text, "gapless.toml", folder, options).unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error)))
}

fn secrets() -> Secrets {
    let values = [("PASSWORD", "hunter2"), ("TOKEN", "hunter3"), ("DATABASE_PASSWORD", "hunter4")];
    Secrets::Given(values.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
}

/// The only service of a file without `[services]`.
fn web(spec: &Spec) -> &Service {
    assert_eq!(spec.services.len(), 1);
    &spec.services["web"]
}

#[test]
fn parse_fills_in_defaults_when_file_has_three_lines() {
    let text = "name = \"shop\"\nimage = \"shop:1\"\nport = 3000\n";
    let spec = read(text, Path::new("/srv/shop"), &LoadOptions::default()).spec;
    assert_eq!((spec.app.as_str(), spec.env.as_str()), ("shop", "production"));
    assert_eq!((web(&spec).port, web(&spec).replicas), (3000, 1));
    assert_eq!(web(&spec).health, HealthCheck::default());
    assert_eq!(spec.timing, Timing::default());
    assert_eq!(spec.routes.len(), 1);
    assert!(spec.routes[0].host.is_any());
}

#[test]
fn load_reads_every_key() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("gapless.toml"), fs::read("tests/every_key.toml").unwrap()).unwrap();
    fs::write(folder.path().join("one.env"), "ONE=1\nBOTH=one\nWINS=one\n").unwrap();
    fs::write(folder.path().join("two.env"), "BOTH=two\n").unwrap();
    fs::write(folder.path().join("error.html"), "<h1>Sorry</h1>").unwrap();
    let options = LoadOptions { secrets: secrets(), ..LoadOptions::default() };
    let loaded = load(&folder.path().join("gapless.toml"), &options).unwrap();
    assert_eq!(loaded.files.len(), 5);
    let json = serde_json::to_string_pretty(&loaded.spec).unwrap();
    insta::assert_snapshot!("load_reads_every_key", json.replace(folder.path().to_str().unwrap(), "FOLDER"));
    let again: gapless_core::Spec = serde_json::from_str(&json).unwrap();
    assert_eq!(again, loaded.spec, "the server gets the spec that was read");
    assert_eq!(again.validate(), Ok(()));
    let options = LoadOptions { environment: Some("test".parse().unwrap()), ..options };
    let test = load(&folder.path().join("gapless.toml"), &options).unwrap().spec;
    assert!(matches!(test.strategy.canary().unwrap().choose, Choose::Hash { .. }), "{:?}", test.strategy);
}

#[test]
fn parse_finds_program_beside_file_or_in_path() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("bin/shop");
    fs::create_dir(folder.path().join("bin")).unwrap();
    fs::write(&program, "#!/bin/sh\n").unwrap();
    let command = |command: &str| {
        let options =
            LoadOptions { search_path: Some(folder.path().join("bin").into_os_string()), ..LoadOptions::default() };
        let text = format!("name = \"shop\"\ncommand = [{command:?}, \"{{port}}\"]");
        parse(&text, "gapless.toml", folder.path(), &options).map(|loaded| match web(&loaded.spec).workload.clone() {
            Workload::Process(process) => process,
            Workload::Docker(_) | Workload::Systemd(_) => panic!("a command without an image is a process"),
        })
    };
    let error = command("bin/shop").unwrap_err();
    assert!(error.problems()[0].message().contains("chmod +x"), "{error:?}");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["bin/shop", "./bin/shop", "./bin/../bin/shop", "shop", program.to_str().unwrap()] {
        let process = command(name).unwrap();
        assert_eq!(process.command, [program.to_str().unwrap(), "{port}"], "{name}");
        assert_eq!(process.directory, folder.path().to_str().unwrap());
    }
    command("none").unwrap_err();
}

#[test]
fn options_override_the_file() {
    let options = LoadOptions {
        image: Some("shop:2".to_owned()),
        environment: Some("test".parse().unwrap()),
        variables: BTreeMap::from([("A".to_owned(), "given".to_owned())]),
        ..LoadOptions::default()
    };
    for image in ["image = \"Not An Image\"\n", ""] {
        let text = format!("name = \"shop\"\n{image}port = 3000\nenv = {{ A = \"file\", B = \"file\" }}\n");
        let spec = read(&text, Path::new("/"), &options).spec;
        let Workload::Docker(container) = &web(&spec).workload else { panic!("an image was given") };
        assert_eq!((container.image.as_str(), spec.env.as_str()), ("shop:2", "test"));
        let variables = &web(&spec).variables;
        assert_eq!((variables["A"].as_str(), variables["B"].as_str()), ("given", "file"));
    }
}

#[test]
fn templates_parse_as_they_are_and_with_all_settings_on() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["shop", "error.html", ".env"] {
        fs::write(folder.path().join(name), "").unwrap();
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    for runtime in [Runtime::Docker, Runtime::Process] {
        let text = template(&TemplateOptions { name: "shop".parse().unwrap(), runtime });
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        let plain = read(&text, folder.path(), &LoadOptions::default()).spec;
        // A setting is a line with a `#` and no space behind it.
        let all_on: String = text
            .lines()
            .map(|line| if line.starts_with("# ") { "" } else { line.strip_prefix('#').unwrap_or(line) })
            .map(|line| format!("{line}\n"))
            .collect();
        let options = LoadOptions { secrets: secrets(), ..LoadOptions::default() };
        let full = read(&all_on, folder.path(), &options).spec;
        // The defaults that the template shows are the defaults of the reader.
        assert_eq!(plain.timing, full.timing);
        let (a, b) = (web(&plain), web(&full));
        assert_eq!((&a.log, a.replicas), (&b.log, b.replicas));
        assert_eq!((a.health.deadline, &a.health.statuses), (b.health.deadline, &b.health.statuses));
        assert_eq!(plain.forward.connect_timeout, full.forward.connect_timeout);
        assert_eq!(plain.forward.retry_after_s, full.forward.retry_after_s);
        insta::assert_snapshot!(format!("template_{runtime:?}").to_lowercase(), text);
    }
}

#[test]
fn services_inherit_from_file_and_only_routed_ones_listen() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("gapless.toml"), fs::read("tests/services.toml").unwrap()).unwrap();
    fs::write(folder.path().join("one.env"), "ONE=1\nLOG=one\n").unwrap();
    let options = |env: &str| LoadOptions {
        environment: Some(env.parse().unwrap()),
        images: BTreeMap::from([("api".parse().unwrap(), "shop-api:2".to_owned())]),
        image: Some("shop:2".to_owned()),
        secrets: secrets(),
        ..LoadOptions::default()
    };
    let load = |env: &str| load(&folder.path().join("gapless.toml"), &options(env)).unwrap().spec;
    let spec = load("production");
    let routes: Vec<_> = spec
        .routes
        .iter()
        .map(|route| format!("{} {}{} {}", route.service, route.host, route.path, route.strip))
        .collect();
    assert_eq!(
        routes,
        [
            "admin admin.example.com/ false",
            "api api.example.com/api true",
            "web shop.example.com/ false",
            "web www.shop.example.com/ false",
        ]
    );
    let image = |name: &str| match &spec.services[name].workload {
        Workload::Docker(container) => container.image.clone(),
        Workload::Process(_) | Workload::Systemd(_) => panic!("{name} is a container"),
    };
    assert_eq!(["admin", "api", "web", "worker"].map(image), ["shop:2", "shop-api:2", "shop:2", "shop:2"]);
    let (web, api, worker) = (&spec.services["web"], &spec.services["api"], &spec.services["worker"]);
    assert_eq!((web.port, web.health.path.as_deref(), web.variables["LOG"].as_str()), (3000, Some("/healthz"), "info"));
    assert_eq!((api.port, api.health.path.as_deref(), api.variables["LOG"].as_str()), (4000, Some("/up"), "debug"));
    assert_eq!((api.health.interval, api.replicas, api.variables["ONE"].as_str()), (Millis(250), 1, "1"));
    assert_eq!((worker.port, worker.health.path.as_deref(), worker.health.settle), (0, None, Millis(3000)));
    let test = load("test");
    assert_eq!(test.services["worker"].replicas, 2);
    assert_eq!(
        test.routes.iter().map(|route| route.host.as_str()).collect::<Vec<_>>()[1..],
        ["api.test.example.com", "test.example.com"]
    );
}

#[test]
fn secrets_reach_instances_and_are_never_shown() {
    let text = "name = \"shop\"\nimage = \"shop:1\"\nport = 3000\nsecrets = [\"TOKEN\"]\nenv = { TOKEN = \"file\", A = \"1\" }\n";
    let options = LoadOptions { secrets: secrets(), ..LoadOptions::default() };
    let spec = read(text, Path::new("/"), &options).spec;
    assert_eq!(web(&spec).variables["TOKEN"], "hunter3");
    let shown = serde_json::to_string(&spec.without_secrets()).unwrap();
    assert!(!shown.contains("hunter") && shown.contains("TOKEN") && shown.contains("\"A\":\"1\""), "{shown}");
    let options = LoadOptions { secrets: Secrets::NotNeeded, ..LoadOptions::default() };
    read(text, Path::new("/"), &options);
}

#[test]
fn parse_refuses_image_for_unknown_service() {
    let options =
        LoadOptions { images: BTreeMap::from([("api".parse().unwrap(), "x:1".to_owned())]), ..LoadOptions::default() };
    let text = "name = \"shop\"\nimage = \"shop:1\"\nport = 3000\n";
    let error = parse(text, "gapless.toml", Path::new("/"), &options).unwrap_err();
    assert!(error.problems()[0].message().contains("no [services.api]"), "{error:?}");
}

/// Keys and values that are nearly correct, so that the checks after the syntax run.
fn line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "name",
        "image",
        "port",
        "replicas",
        "hosts",
        "routes",
        "env",
        "env_files",
        "volumes",
        "command",
        "runtime",
        "user",
        "directory",
        "path",
        "host",
        "statuses",
        "interval",
        "memory",
        "cpus",
        "blue",
        "strategy",
        "\"a.b\"",
        "health.path",
    ]);
    let value = prop_oneof![
        "\"[^\"\\\\\n]{0,12}\"",
        "-?[0-9]{1,25}",
        "[0-9]\\.[0-9]",
        Just("true".to_owned()),
        Just("[]".to_owned()),
        "\\[\"[a-z./:*]{0,10}\", [0-9]{1,3}\\]",
        Just("{ a = 1 }".to_owned()),
        Just("1979-05-27".to_owned()),
        Just("nan".to_owned()),
    ];
    prop_oneof![
        6 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        2 => prop::sample::select(vec!["[health]", "[env]", "[proxy]", "[[routes]]", "[log]", "[host_ports]", "[resources]", "[deploy]"])
            .prop_map(str::to_owned),
        1 => "\\PC{0,20}",
    ]
}

proptest! {
    #[test]
    fn parse_never_panics_on_near_misses(lines in prop::collection::vec(line(), 0..12)) {
        let text = lines.join("\n");
        if let Err(error) = parse(&text, "gapless.toml", Path::new("/nowhere"), &LoadOptions::default()) {
            prop_assert!(!error.problems().is_empty());
            let _ = format!("{:?}", miette::Report::new(error));
        }
    }

    #[test]
    fn parse_never_panics_on_any_characters(text in "(\\PC|[\n\r\0\"'=\\[\\]{}.#\\\\]){0,80}") {
        if let Err(error) = parse(&text, "gapless.toml", Path::new("/nowhere"), &LoadOptions::default()) {
            for problem in error.problems() {
                let _ = problem.position();
            }
            let _ = format!("{:?}", miette::Report::new(error));
        }
    }
}
