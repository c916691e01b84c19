//! Checks of the packaged files, as far as possible without booting them.

use ignition_config::Config;
use std::path::Path;

#[test]
fn ignition_files_are_valid_and_enable_installable_units() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/vm");
    for name in ["flatcar.ign", "fedora-coreos.ign"] {
        let text = std::fs::read(folder.join(name)).unwrap();
        let (config, warnings) = Config::parse_slice(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(warnings.is_empty(), "{name}: {warnings:?}");
        let (units, files): (Vec<_>, Vec<_>) = match config {
            Config::V3_3(config) => (
                config.systemd.unwrap().units.unwrap().into_iter().map(|unit| (unit.name, unit.contents)).collect(),
                config.storage.unwrap().files.unwrap().into_iter().map(|file| file.path).collect(),
            ),
            Config::V3_4(config) => (
                config.systemd.unwrap().units.unwrap().into_iter().map(|unit| (unit.name, unit.contents)).collect(),
                config.storage.unwrap().files.unwrap().into_iter().map(|file| file.path).collect(),
            ),
            other => panic!("{name}: {other:?}"),
        };
        let mut names: Vec<_> = units.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["docker.service", "etcd.service", "gapless-install.service", "nginx.service"], "{name}");
        for (unit, text) in units.iter().filter_map(|(unit, text)| Some((unit, text.as_ref()?))) {
            assert!(text.contains("[Install]") && text.contains("WantedBy="), "{name}: {unit} cannot be enabled");
        }
        let install = units.iter().find_map(|(unit, text)| text.as_ref().filter(|_| unit == "gapless-install.service"));
        let program = files.iter().find(|path| path.ends_with("/gapless")).unwrap();
        assert!(install.unwrap().contains(&format!("ExecStart={program} install")), "{name}: it runs another program");
    }
}
