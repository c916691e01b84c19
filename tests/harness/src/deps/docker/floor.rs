//! The Engine API alone, as the lower bound that gapless is compared with.

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// The time to create and start the same container by the Engine API alone, until its first answer; in milliseconds.
pub async fn engine_floor(docker: &Docker, name: &str, data: &Path) -> f64 {
    let body = ContainerCreateBody {
        image: Some("bdd-assistant:latest".to_owned()),
        env: Some(vec!["PORT=9000".to_owned(), "DATA_DIR=/data".to_owned()]),
        host_config: Some(HostConfig {
            network_mode: Some("gapless".to_owned()),
            binds: Some(vec![format!("{}:/data", data.display())]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let began = Instant::now();
    let options = CreateContainerOptionsBuilder::new().name(name).build();
    let id = docker.create_container(Some(options), body).await.expect("the container can be created").id;
    docker.start_container(&id, None).await.expect("the container can be started");
    let inspected = docker.inspect_container(&id, None).await.expect("the container can be inspected");
    let networks =
        inspected.network_settings.and_then(|settings| settings.networks).expect("the container has a network");
    let address = networks["gapless"].ip_address.clone().expect("the socket has an address");
    while !answers(SocketAddr::new(address.parse().expect("the text is an address"), 9000)) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = began.elapsed().as_secs_f64() * 1000.0;
    let force = RemoveContainerOptionsBuilder::new().force(true).build();
    docker.remove_container(&id, Some(force)).await.expect("the container can be removed");
    took
}

fn answers(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let mut answer = String::new();
    let asked = stream.write_all(b"GET /up HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.starts_with("HTTP/1.1 200")
}
