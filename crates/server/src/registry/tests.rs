//! Published facts follow the records, and keys of other programs stay unchanged.

use super::{Registry, RegistryConfig};
use crate::registry::keys::UserKeys;
use gapless_core::application::Placement;
use gapless_core::{AppKey, Application, Artifacts, PlacementId, Slot, Spec};
use gapless_store::{MemoryStore, Store, Txn};
use serde_json::json;
use std::sync::Arc;

struct TestRegistry {
    store: Arc<MemoryStore>,
    registry: Registry,
    keys: UserKeys,
}

impl TestRegistry {
    fn new(config: RegistryConfig) -> Self {
        let store = Arc::new(MemoryStore::new());
        let keys = UserKeys::new(store.clone(), "");
        let registry = Registry::new(store.clone(), keys.clone(), config);
        TestRegistry { store, registry, keys }
    }

    async fn record(&self, app: &Application) {
        let value = serde_json::to_vec(app).unwrap();
        self.store.commit(Txn::new().put(format!("/gapless/apps/{}", app.key), value)).await.unwrap();
    }

    async fn refresh(&mut self) -> Vec<String> {
        self.registry.refresh_all().await.unwrap();
        let pairs = self.keys.list("/").await.unwrap().pairs;
        pairs.into_iter().map(|pair| format!("{}={}", pair.key, pair.value)).collect()
    }
}

fn app(name: &str, env: &str, slot: Slot) -> Application {
    let key = AppKey::new(name.parse().unwrap(), env.parse().unwrap());
    let spec: Spec = serde_json::from_value(json!({
        "app": name, "env": env, "services": { "web": {
            "workload": { "docker": { "image": "shop:1" } }, "port": 9000, "replicas": 1,
            "host_ports": { "blue": 9001, "green": 9002 },
        } },
        "routes": [{ "host": "shop.example" }, { "host": "*.shop.example" }],
    }))
    .unwrap();
    let id = PlacementId { key: key.clone(), slot, deployment: 3 };
    let mut placement = Placement::candidate(id, 7, Arc::new(spec), Artifacts::only("sha256:abc"));
    placement.replicas[0].address = Some(([127, 0, 0, 1], 9001 + u16::from(slot == Slot::Green)).into());
    let mut app = Application::new(key);
    app.live = Some(slot);
    app.slots.insert(slot, placement);
    app
}

#[tokio::test]
async fn facts_follow_records_and_are_removed_with_application() {
    let mut test = TestRegistry::new(RegistryConfig::default());
    test.record(&app("shop", "production", Slot::Blue)).await;
    test.record(&app("shop", "test", Slot::Green)).await;
    let facts = test.refresh().await;
    assert_eq!(
        facts[..6],
        [
            "/shop/addresses=127.0.0.1:9001",
            "/shop/digest=sha256:abc",
            "/shop/hosts=*.shop.example,shop.example",
            "/shop/instance=blue",
            "/shop/port=9001",
            "/shop/release=7"
        ]
    );
    assert!(facts.contains(&"/shop/test/instance=green".to_owned()));
    let revision = test.store.range("").await.unwrap().revision;
    assert_eq!(test.refresh().await, facts);
    assert_eq!(test.store.range("").await.unwrap().revision, revision, "unchanged facts are not written");

    test.record(&app("shop", "production", Slot::Green)).await;
    let facts = test.refresh().await;
    assert!(facts.contains(&"/shop/port=9002".to_owned()) && facts.contains(&"/shop/instance=green".to_owned()));

    test.store
        .commit(Txn::new().delete("/gapless/apps/shop/production").delete("/gapless/apps/shop/test"))
        .await
        .unwrap();
    assert_eq!(test.refresh().await, [""; 0]);
    assert_eq!(test.store.range("").await.unwrap().entries, [], "no key remains");
}

#[tokio::test]
async fn keys_of_other_programs_are_kept_and_own_keys_are_restored() {
    let mut test = TestRegistry::new(RegistryConfig::default());
    test.keys.put("/shop/port", "1234").await.unwrap();
    test.record(&app("shop", "production", Slot::Blue)).await;
    let facts = test.refresh().await;
    assert!(facts.contains(&"/shop/port=1234".to_owned()) && facts.contains(&"/shop/instance=blue".to_owned()));
    test.keys.put("/shop/instance", "red").await.unwrap();
    test.registry.published.clear();
    assert!(test.refresh().await.contains(&"/shop/instance=blue".to_owned()));
    test.store.commit(Txn::new().delete("/gapless/apps/shop/production")).await.unwrap();
    assert_eq!(test.refresh().await, ["/shop/port=1234"]);
    // The key is free again, so the fact is published.
    test.keys.delete("/shop/port").await.unwrap();
    test.record(&app("shop", "production", Slot::Blue)).await;
    assert!(test.refresh().await.contains(&"/shop/port=9001".to_owned()));
}

#[tokio::test]
async fn prefix_and_keys_follow_configuration_and_records_are_never_written() {
    let keys = Some([("port".to_owned(), "http/port".to_owned())].into());
    let mut test = TestRegistry::new(RegistryConfig { enabled: true, prefix: "/services".to_owned(), keys });
    test.record(&app("shop", "production", Slot::Blue)).await;
    assert_eq!(test.refresh().await, ["/services/shop/http/port=9001"]);
    let mut test = TestRegistry::new(RegistryConfig { enabled: false, ..RegistryConfig::default() });
    test.record(&app("shop", "production", Slot::Blue)).await;
    assert_eq!(test.refresh().await, [""; 0]);
    let mut test = TestRegistry::new(RegistryConfig::default());
    test.record(&app("gapless", "apps", Slot::Blue)).await;
    assert_eq!(test.refresh().await, [""; 0], "such keys would be records");
}
