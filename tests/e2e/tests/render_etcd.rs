//! `gapless render` on a real etcd: reading, watching, users, certificates, and an outage of etcd.

use etcd_client::{ConnectOptions, Permission, PermissionType};
use gapless_harness::Confd;
use gapless_harness::deps::Etcd;
use gapless_harness::wait_for;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn confd_example_renders_once() {
    let etcd = Etcd::start();
    etcd.put(&[
        ("/nginx/domain", "example.com"),
        ("/app/upstream/app1", "10.0.1.100:80"),
        ("/app/upstream/app2", "10.0.1.101:80"),
        ("/app/upstreams", "begins like it"),
    ]);
    let confd = Confd::default();
    confd.template(
        "nginx",
        "{{range getvs \"/app/upstream/*\"}}server {{.}}; {{end}}{{getv \"/nginx/domain\"}} {{ls \"/app\"}}",
    );
    confd.resource("nginx", &["/nginx", "/app/upstream"], "");
    let node = etcd.node();
    let ran = confd.render(&["-onetime", "-backend", "etcdv3", "-node", &node]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(confd.written("nginx").unwrap(), "server 10.0.1.100:80; server 10.0.1.101:80; example.com [upstream]");
    // Without a scheme, and by the backend's older name.
    let host = node.strip_prefix("http://").unwrap();
    assert_eq!(confd.render(&["-onetime", "-backend", "etcd", "-node", host]).code, 0);
}

#[test]
fn many_keys_and_large_values_are_read() {
    let etcd = Etcd::start();
    let names: Vec<String> = (0..300).map(|number| format!("/many/{number:03}")).collect();
    // Six MiB in total.
    let value = "x".repeat(20 << 10);
    etcd.put(&names.iter().map(|name| (name.as_str(), value.as_str())).collect::<Vec<_>>());
    let confd = Confd::default();
    confd.template("one", "{{len (gets \"/many/*\")}}");
    confd.resource("one", &names.iter().map(String::as_str).collect::<Vec<_>>(), "");
    let ran = confd.render(&["-onetime", "-node", &etcd.node()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(confd.written("one").unwrap(), "300");
    confd.resource("one", &["/many"], "");
    assert_eq!(confd.render(&["-onetime", "-node", &etcd.node()]).code, 0);
}

#[test]
fn watch_renders_only_changes_and_survives_etcd_restart() {
    let mut etcd = Etcd::start();
    etcd.put(&[("/a/x", "1"), ("/b/x", "1")]);
    let confd = Confd::default();
    for name in ["a", "b"] {
        confd.template(name, &format!("{{{{range gets \"/{name}/*\"}}}}{{{{.Key}}}}={{{{.Value}}}} {{{{end}}}}"));
        confd.resource(name, &[&format!("/{name}")], &format!("reload_cmd = \"echo {name} >>reloads\""));
    }
    let reloads = || std::fs::read_to_string(confd.path("reloads")).unwrap_or_default();
    let mut running = confd.spawn(&["-watch", "-node", &etcd.node()]);
    running.wait_for_line("has been updated", DEADLINE);
    running.wait_for_line("has been updated", DEADLINE);
    wait_for("both are reloaded", DEADLINE, || (reloads().len() == 4).then_some(()));

    etcd.put(&[("/a/y", "2")]);
    wait_for("a is reloaded", DEADLINE, || (reloads().len() == 6).then_some(()));
    assert_eq!(confd.written("a").unwrap(), "/a/x=1 /a/y=2 ");
    etcd.delete("/a/x");
    wait_for("a is reloaded", DEADLINE, || (reloads().len() == 8).then_some(()));
    assert_eq!(confd.written("a").unwrap(), "/a/y=2 ");
    assert_eq!(reloads().matches('b').count(), 1, "{}", reloads());

    // While etcd is away the files stay, and the watch resumes when etcd is back.
    etcd.kill();
    running.wait_for_line("watch failed", DEADLINE);
    assert_eq!(confd.written("a").unwrap(), "/a/y=2 ");
    etcd.restart();
    etcd.put(&[("/b/x", "3")]);
    wait_for("b is written", DEADLINE, || (confd.written("b")? == "/b/x=3 ").then_some(()));
    etcd.put(&[("/b/x", "4")]);
    wait_for("b is written", DEADLINE, || (confd.written("b")? == "/b/x=4 ").then_some(()));
    assert_eq!(running.stop(), 0);
}

#[test]
fn unreachable_etcd_is_reported() {
    let confd = Confd::default();
    confd.template("one", "x");
    confd.resource("one", &["/a"], "");
    let ran = confd.render(&["-onetime", "-node", "127.0.0.1:1"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("etcd at 127.0.0.1:1: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("check that etcd listens there"), "{}", ran.stderr);
    assert!(confd.written("one").is_none());
}

#[test]
fn render_succeeds_when_one_etcd_member_answers() {
    let etcd = Etcd::start();
    let confd = Confd::default();
    confd.template("one", "x");
    confd.resource("one", &["/a"], "");
    for _ in 0..10 {
        let ran = confd.render(&["-onetime", "-node", "http://127.0.0.1:1", "-node", &etcd.node()]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
}

#[test]
fn non_text_values_are_reported() {
    let etcd = Etcd::start();
    let (tokio, mut client) = etcd.client(None);
    tokio.block_on(client.put("/a/binary", [0xff, 0xfe], None)).unwrap();
    let confd = Confd::default();
    confd.template("one", "x");
    confd.resource("one", &["/a"], "");
    let ran = confd.render(&["-onetime", "-node", &etcd.node()]);
    assert!(ran.stderr.contains("the value of /a/binary is not UTF-8"), "{}", ran.stderr);
}

#[test]
fn etcd_users_read_only_permitted_keys() {
    let etcd = Etcd::start();
    etcd.put(&[("/a/x", "1"), ("/b/x", "2")]);
    let (tokio, mut client) = etcd.client(None);
    tokio.block_on(async {
        client.user_add("root", "rootpass", None).await.unwrap();
        client.role_add("root").await.unwrap();
        client.user_grant_role("root", "root").await.unwrap();
        client.user_add("reader", "-secret", None).await.unwrap();
        client.role_add("a").await.unwrap();
        let permission = Permission::new(PermissionType::Read, "/a").with_prefix();
        client.role_grant_permission("a", permission).await.unwrap();
        client.user_grant_role("reader", "a").await.unwrap();
        client.auth_enable().await.unwrap();
    });
    let confd = Confd::default();
    for name in ["a", "b"] {
        confd.template(name, &format!("{{{{getv \"/{name}/x\"}}}}"));
        confd.resource(name, &[&format!("/{name}")], "");
    }
    let node = etcd.node();
    let ran = confd.render(&["-onetime", "-node", &node]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("set -username and -password"), "{}", ran.stderr);
    let as_reader = ["-node", &node, "-basic-auth", "-username", "reader", "-password", "-secret"];
    let ran = confd.render(&[&["-onetime"], &as_reader[..]].concat());
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("permission denied"), "{}", ran.stderr);
    assert_eq!(confd.written("a").unwrap(), "1");
    assert!(confd.written("b").is_none());
    let wrong = confd.render(&["-onetime", "-node", &node, "-username", "reader", "-password", "wrong"]);
    assert!(wrong.stderr.contains("authentication failed"), "{}", wrong.stderr);

    // A watch of permitted keys works, too.
    std::fs::remove_file(confd.path("conf.d/b.toml")).unwrap();
    let mut running = confd.spawn(&[&["-watch", "-log-level", "debug"], &as_reader[..]].concat());
    running.wait_for_line("is up to date", DEADLINE);
    let root = ConnectOptions::new().with_user("root", "rootpass");
    let (tokio, mut client) = etcd.client(Some(root));
    tokio.block_on(client.put("/a/x", "5", None)).unwrap();
    wait_for("a is written", DEADLINE, || (confd.written("a")? == "5").then_some(()));
    assert_eq!(running.stop(), 0);
}

#[test]
fn etcd_certificates_are_presented_and_verified() {
    let confd = Confd::default();
    let write = |name: &str, text: String| {
        confd.write(name, &text);
        confd.path(name)
    };
    let authority = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        (write(&format!("{name}.pem"), certificate.pem()), Issuer::new(params, key))
    };
    let (authority_file, issuer) = authority("authority");
    let (other_file, _) = authority("other");
    let signed = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        (write(&format!("{name}.pem"), certificate.pem()), write(&format!("{name}.key"), key.serialize_pem()))
    };
    let (certificate, key) = signed("server");
    let (client_certificate, client_key) = signed("client");
    let etcd = Etcd::start_with_tls(&certificate, &key, &authority_file);
    confd.template("one", "{{getv \"/x\" \"nothing yet\"}}");
    confd.resource("one", &["/x"], "");
    let [authority, other, certificate, key] =
        [authority_file, other_file, client_certificate, client_key].map(|path| path.display().to_string());
    let node = etcd.node();
    let with = |authority: &str| {
        confd.render(&[
            "-onetime",
            "-node",
            &node,
            "-client-ca-keys",
            authority,
            "-client-cert",
            &certificate,
            "-client-key",
            &key,
        ])
    };
    let ran = with(&authority);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(confd.written("one").unwrap(), "nothing yet");
    for ran in [with(&other), confd.render(&["-onetime", "-node", &node, "-client-ca-keys", &authority])] {
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        assert!(ran.stderr.contains("etcd at https://"), "{}", ran.stderr);
    }
    let missing = with("/no/such/file");
    assert!(missing.stderr.contains("/no/such/file: No such file"), "{}", missing.stderr);
}
