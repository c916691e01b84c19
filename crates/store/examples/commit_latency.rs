//! Measures how long a commit takes, against one write and fdatasync of as many bytes in the same folder: `cargo run
//! --release -p gapless-store --example commit_latency -- FOLDER [ETCD]`. With the address of an etcd, such as
//! `http://127.0.0.1:2379`, measures a commit there too.

use gapless_store::{EtcdConfig, EtcdStore, SqliteStore, Store, Txn};
use std::io::Write;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const COMMITS: usize = 400;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os().nth(1).ok_or("name a folder on the disk to measure")?;
    let folder = tempfile::tempdir_in(folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let store = SqliteStore::open(&folder.path().join("state.db"))?;
    let config =
        std::env::args().nth(2).map(|etcd| EtcdConfig { prefix: "/measured".to_owned(), ..EtcdConfig::new([etcd]) });
    let etcd = config.map(|config| runtime.block_on(EtcdStore::open(&config))).transpose()?;
    let mut file = std::fs::File::create(folder.path().join("plain"))?;
    println!("{:>22} {:>10} {:>10} {:>10}", "", "median", "p99", "most");
    for _ in 0..ROUNDS {
        let plain = measure(|n| {
            file.write_all(&[n as u8; 4 * 4096])?;
            Ok(file.sync_data()?)
        })?;
        show("write and fdatasync", plain);
        measure_store("", &runtime, &store)?;
        if let Some(etcd) = &etcd {
            measure_store("etcd: ", &runtime, etcd)?;
        }
    }
    Ok(())
}

fn measure_store(
    name: &str,
    runtime: &tokio::runtime::Runtime,
    store: &dyn Store,
) -> Result<(), Box<dyn std::error::Error>> {
    let commits = measure(|n| {
        let value = vec![b'x'; 2000];
        let txn = Txn::new().put(format!("/apps/{}", n % 100), value).put("/live", n.to_string());
        Ok(runtime.block_on(store.commit(txn)).map(drop)?)
    })?;
    show(&format!("{name}commit"), commits);
    let reads = measure(|n| Ok(runtime.block_on(store.get(&format!("/apps/{}", n % 100))).map(drop)?))?;
    show(&format!("{name}get"), reads);
    Ok(())
}

fn measure(
    mut work: impl FnMut(usize) -> Result<(), Box<dyn std::error::Error>>,
) -> Result<Vec<Duration>, Box<dyn std::error::Error>> {
    let mut times = Vec::with_capacity(COMMITS);
    for n in 0..COMMITS {
        let start = Instant::now();
        work(n)?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times)
}

fn show(name: &str, sorted: Vec<Duration>) {
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize].as_micros();
    println!("{name:>22} {:>7} µs {:>7} µs {:>7} µs", at(0.5), at(0.99), at(1.0));
}
