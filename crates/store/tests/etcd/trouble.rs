//! Faults of an etcd: each error names the remedy.

use super::certificates::Authority;
use super::daemon::Etcd;
use super::store;
use gapless_store::{EtcdConfig, EtcdStore, EtcdTls, Outcome, Store, StoreError, Txn};
use std::time::{Duration, Instant};

async fn refused(config: &EtcdConfig) -> String {
    match EtcdStore::open(config).await {
        Err(error @ StoreError::Open { .. }) => error.to_string(),
        other => panic!("the store must not open: {other:?}"),
    }
}

#[tokio::test]
async fn refused_connection_is_transient_and_wrong_endpoint_is_not() {
    let mut etcd = Etcd::start();
    let config = EtcdConfig::new([etcd.endpoint()]);
    etcd.kill();
    let error = EtcdStore::open(&config).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable { .. }), "{error}");
    assert!(
        error.to_string().contains("connection refused") && error.to_string().contains(&etcd.endpoint()),
        "{error}"
    );
    assert!(refused(&EtcdConfig::new([""; 0])).await.contains("endpoints"));
    assert!(refused(&EtcdConfig::new(["127.0.0.1:2379"])).await.contains("http://"));
    assert!(refused(&EtcdConfig::new(["https://127.0.0.1:2379"])).await.contains("`ca`"));
}

#[tokio::test]
async fn another_member_answers_when_one_is_unreachable() {
    let etcd = Etcd::start();
    let away = format!(
        "http://127.0.0.1:{}",
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    );
    let store = EtcdStore::open(&EtcdConfig::new([away, etcd.endpoint()])).await.unwrap();
    for n in 0..20 {
        store.commit(Txn::new().put("/a", n.to_string())).await.unwrap();
        assert_eq!(store.get("/a").await.unwrap().unwrap().value, n.to_string().into_bytes());
    }
}

#[tokio::test]
async fn errors_explain_users_and_roles() {
    let mut etcd = Etcd::start();
    let with = |user: &str, password: &str| EtcdConfig {
        user: Some((user.to_owned(), password.to_owned())),
        prefix: "/ours".to_owned(),
        ..EtcdConfig::new([etcd.endpoint()])
    };
    let (good, wrong) = (with("gapless", "secret"), with("gapless", "guessed"));
    let error = refused(&good).await;
    assert!(error.contains("authentication is off"), "{error}");
    etcd.ctl(&["user", "add", "root:root"]);
    etcd.ctl(&["user", "grant-role", "root", "root"]);
    etcd.ctl(&["user", "add", "gapless:secret"]);
    etcd.ctl(&["role", "add", "gapless"]);
    etcd.ctl(&["role", "grant-permission", "gapless", "readwrite", "--prefix=true", "/ours"]);
    etcd.ctl(&["user", "grant-role", "gapless", "gapless"]);
    etcd.ctl(&["auth", "enable"]);
    etcd.log_in("root", "root");

    assert!(refused(&wrong).await.contains("password is wrong"));
    assert!(refused(&EtcdConfig::new([etcd.endpoint()])).await.contains("set `user`"));
    let elsewhere = EtcdConfig { prefix: "/theirs".to_owned(), ..good.clone() };
    let error = refused(&elsewhere).await;
    assert!(error.contains("grant-permission") && !error.contains("secret"), "{error}");

    let store = EtcdStore::open(&good).await.unwrap();
    store.commit(Txn::new().put("/gapless/a", "1")).await.unwrap();
    // A restarted etcd does not accept the old token: the client gets a new one.
    etcd.kill();
    etcd.start_again();
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.get("/gapless/a").await.is_err() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    store.commit(Txn::new().put("/gapless/a", "2")).await.unwrap();
    assert!(!format!("{good:?}").contains("secret"));
}

#[tokio::test]
async fn errors_explain_tls_of_client_and_server() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new(), Authority::new());
    let etcd = Etcd::start_with(&[], Some(ours.write(folder.path())));
    let identity = |authority: &Authority| {
        let (certificate, key) = authority.sign();
        Some((certificate.into_bytes(), key.into_bytes()))
    };
    let with = |ca: &str, identity| EtcdConfig {
        tls: Some(EtcdTls { ca: ca.as_bytes().to_vec(), identity }),
        ..EtcdConfig::new([etcd.endpoint()])
    };
    let store = EtcdStore::open(&with(&ours.pem, identity(&ours))).await.unwrap();
    store.commit(Txn::new().put("/a", "1")).await.unwrap();
    assert_eq!(etcd.ctl(&["get", "--print-value-only", "/a"]).trim(), "1");

    let error = refused(&with(&other.pem, identity(&ours))).await;
    assert!(error.contains("authority in `ca`"), "{error}");
    let error = refused(&with(&ours.pem, identity(&other))).await;
    assert!(error.contains("client certificate"), "{error}");
    let error = refused(&with(&ours.pem, None)).await;
    assert!(error.contains("client certificate"), "{error}");
    let error = refused(&with("not a certificate", None)).await;
    assert!(error.contains("`ca`"), "{error}");
}

#[tokio::test]
async fn used_up_quota_is_reported_and_reads_continue() {
    let etcd = Etcd::start_with(&["--quota-backend-bytes", "2000000"], None);
    let store = store(&etcd, "").await;
    let error = loop {
        match store.commit(Txn::new().put("/large", vec![7; 500 << 10])).await {
            Ok(_) => {}
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("NOSPACE") && error.contains("alarm disarm"), "{error}");
    assert_eq!(store.get("/large").await.unwrap().unwrap().value.len(), 500 << 10);
    // The remedy in the message works.
    let revision = store.range("").await.unwrap().revision;
    etcd.ctl(&["compact", &revision.to_string()]);
    etcd.ctl(&["defrag"]);
    etcd.ctl(&["alarm", "disarm"]);
    store.commit(Txn::new().put("/large", "small")).await.unwrap();
}

#[tokio::test]
async fn lower_transaction_limits_of_etcd_are_reported() {
    let etcd = Etcd::start_with(&["--max-txn-ops", "10"], None);
    let store = store(&etcd, "").await;
    let txn = (0..20).fold(Txn::new(), |txn, n| txn.put(format!("/{n}"), "x"));
    let error = store.commit(txn).await.unwrap_err();
    assert!(matches!(&error, StoreError::Invalid(why) if why.contains("--max-txn-ops")), "{error}");
}

#[tokio::test]
async fn call_to_a_hanging_etcd_fails_at_the_deadline() {
    let etcd = Etcd::start();
    let deadline = Duration::from_secs(1);
    let store = EtcdStore::open(&EtcdConfig { deadline, ..EtcdConfig::new([etcd.endpoint()]) }).await.unwrap();
    let at = match store.commit(Txn::new().put("/a", "1")).await.unwrap() {
        Outcome::Committed { revision } => revision,
        Outcome::Conflict => panic!("the transaction has no comparisons"),
    };
    etcd.pause();
    let begun = Instant::now();
    let error = store.get("/a").await.unwrap_err();
    assert!(error.to_string().contains("no answer within 1"), "{error}");
    let error = store.commit(Txn::new().expect("/a", at).put("/a", "2")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    etcd.resume();
    let deadline = Instant::now() + Duration::from_secs(20);
    let entry = loop {
        match store.get("/a").await {
            Ok(entry) => break entry.unwrap(),
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    // Applied or not, but at most once and completely.
    assert!((entry.mod_revision == at) == (entry.value == b"1"), "{entry:?}");
}
