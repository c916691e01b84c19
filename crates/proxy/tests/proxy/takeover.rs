//! The end of a data plane and its successor: no connection is refused and no request lost.

use crate::harness::*;
use crate::hold::held;
use gapless_core::spec::HoldSettings;
use gapless_proxy::handover;
use std::time::Duration;

#[test]
fn stop_finishes_requests_and_closes_connections() {
    let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
    let goes_on = std::sync::Mutex::new(goes_on);
    let origin = Origin::raw(move |conn, _| {
        loop {
            let message = conn.read_message("")?;
            if message.head.starts_with("GET /slow") {
                goes_on.lock().unwrap().recv_timeout(PATIENCE).ok();
            }
            conn.try_send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")?;
        }
    });
    let mut proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let (mut slow, mut idle) = (proxy.connect(), proxy.connect());
    assert_eq!(idle.get("/").status(), 200);
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for("the request", || (origin.requests() == 2).then_some(()));
    proxy.begin_stop();
    wait_for("the stop", || proxy.status().stopping.then_some(()));
    // An idle connection may still be used once.
    let last = idle.get("/");
    assert_eq!((last.status(), last.header("connection").as_deref()), (200, Some("close")));
    assert!(idle.is_ended());
    go_on.send(()).unwrap();
    let answer = slow.answer();
    assert_eq!((answer.text().as_str(), answer.header("connection").as_deref()), ("hi", Some("close")));
    assert!(slow.is_ended());
    proxy.end();
}

#[test]
fn stop_over_control_socket_ends_by_its_deadline() {
    let origin = Origin::raw(|conn, _| {
        conn.read_message("")?;
        conn.read_head().map(drop)
    });
    let table = shop(1, vec![live(BLUE, &[origin.address])]);
    let mut proxy = Proxy::configured(&table, |config| config.limits.stop_timeout = Duration::from_millis(300));
    let mut stuck = proxy.connect();
    stuck.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for("the request", || (origin.requests() == 1).then_some(()));
    proxy.control.call(|client| client.stop()).unwrap();
    proxy.end();
    assert!(stuck.is_ended());
}

#[test]
fn connections_wait_until_next_data_plane_serves_them() {
    let origin = Origin::named("blue");
    let mut proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    // The test keeps the sockets, as the control plane does.
    let held = handover::take(&proxy.config.control_socket).unwrap();
    assert_eq!(held[0].local_addr().unwrap(), proxy.address);
    let address = proxy.address;
    proxy.end();
    let mut waiting: Vec<Conn> = (0..50).map(|_| Conn::connect(address)).collect();
    for conn in &mut waiting {
        conn.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    let proxy = proxy.restart(|config| config.listen.clear());
    assert!(proxy.status().listen.is_empty());
    handover::give(&proxy.config.control_socket, &held).unwrap();
    assert_eq!(proxy.status().listen, [address]);
    for conn in &mut waiting {
        assert_eq!(conn.answer().header("x-origin").as_deref(), Some("blue"));
    }
    // Giving the same socket again adds no listener.
    handover::give(&proxy.config.control_socket, &held).unwrap();
    assert_eq!(proxy.status().listen, [address]);
}

#[test]
fn bound_socket_can_be_given_to_data_plane_without_listeners() {
    let origin = Origin::named("blue");
    let proxy = Proxy::empty(|config| config.listen.clear());
    proxy.put(&shop(1, vec![live(BLUE, &[origin.address])]));
    let sockets = [(); 2].map(|()| handover::bind("127.0.0.1:0".parse().unwrap()).unwrap());
    handover::give(&proxy.config.control_socket, &sockets).unwrap();
    for socket in &sockets {
        assert_eq!(Conn::connect(socket.local_addr().unwrap()).get("/").status(), 200);
    }
}

#[test]
fn handover_is_refused_when_descriptor_is_no_listening_socket() {
    let proxy = Proxy::empty(|config| config.listen.clear());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let disguised = std::net::TcpListener::from(std::os::fd::OwnedFd::from(stream));
    assert!(handover::give(&proxy.config.control_socket, &[disguised]).is_err());
    assert!(proxy.status().listen.is_empty());
}

#[test]
fn second_data_plane_is_refused_at_same_control_socket() {
    let proxy = Proxy::empty(|_| {});
    let refused = gapless_proxy::serve(proxy.config.clone(), std::future::pending()).unwrap_err();
    assert!(refused.to_string().contains("another data plane answers"), "{refused}");
    assert!(proxy.control.try_status().is_some());
}

#[test]
fn one_of_two_data_planes_takes_over_when_started_at_once() {
    for _ in 0..40 {
        let mut proxy = Proxy::empty(|config| config.listen.clear());
        proxy.end();
        let (tell, ended) = std::sync::mpsc::channel();
        let stops: Vec<_> = (0..2)
            .map(|_| {
                let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
                let (tell, config) = (tell.clone(), proxy.config.clone());
                std::thread::spawn(move || {
                    let served = gapless_proxy::serve(config, async { drop(stopped.await) });
                    tell.send(served.map_err(|error| error.to_string())).unwrap();
                });
                stop
            })
            .collect();
        let refused = ended.recv_timeout(PATIENCE).unwrap().unwrap_err();
        assert!(refused.contains("another data plane answers"), "{refused}");
        wait_for("the other one", || proxy.control.try_status());
        drop(stops);
        assert_eq!(ended.recv_timeout(PATIENCE).unwrap(), Ok(()));
    }
}

#[test]
fn displaced_data_plane_gives_up_its_sockets_and_ends() {
    let origin = Origin::named("blue");
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let place = &proxy.config.control_socket;
    let aside = place.with_extension("aside");
    let other = proxy.beside(|config| {
        config.listen.clear();
        (config.control_socket, config.table_file) = (aside.clone(), aside.with_extension("json"));
    });
    other.put(&shop(1, vec![live(BLUE, &[origin.address])]));
    std::fs::rename(handover::socket_path(&aside), handover::socket_path(place)).unwrap();
    std::fs::rename(&aside, place).unwrap();
    wait_for("its end", || proxy.has_ended().then_some(()));
    assert_eq!(other.status().listen, [proxy.address]);
    assert_eq!(proxy.get("a", "/").status(), 200);
}

#[test]
fn start_fails_with_address_when_port_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::empty(|_| {});
    let mut config = proxy.config.clone();
    config.control_socket.set_extension("other");
    config.listen = vec![taken.local_addr().unwrap()];
    let refused = gapless_proxy::serve(config, std::future::pending()).unwrap_err();
    assert!(refused.to_string().contains(&taken.local_addr().unwrap().to_string()), "{refused}");
}

#[test]
fn successor_takes_sockets_over_without_refused_connection() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let origin = Origin::named("blue");
    let mut proxy = Proxy::with(&shop(3, vec![live(BLUE, &[origin.address])]));
    let address = proxy.address;
    let done = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = [true, false, false]
        .into_iter()
        .map(|keeps| {
            let done = Arc::clone(&done);
            std::thread::spawn(move || {
                let mut conn = Conn::connect(address);
                let mut requests = 0;
                while !done.load(Ordering::SeqCst) {
                    let answer = conn.get("/");
                    assert_eq!(answer.status(), 200);
                    if !keeps || answer.header("connection").as_deref() == Some("close") {
                        conn = Conn::connect(address);
                    }
                    requests += 1;
                }
                requests
            })
        })
        .collect();
    for _ in 0..5 {
        let next = proxy.beside(|config| (config.replace, config.listen) = (true, vec![address]));
        assert_eq!(next.status().table_version, 3);
        proxy.end();
        proxy = next;
        let seen = origin.requests();
        wait_for("requests through the successor", || (origin.requests() > seen + 20).then_some(()));
    }
    done.store(true, Ordering::SeqCst);
    assert!(clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>() > 100);
}

/// A successor of `proxy`.
fn successor(proxy: &Proxy) -> Proxy {
    let address = proxy.address;
    proxy.beside(|config| (config.replace, config.listen) = (true, vec![address]))
}

fn in_flight(proxy: &Proxy) -> u64 {
    proxy.status().placements.values().map(|placement| placement.in_flight).sum()
}

#[test]
fn requests_of_replaced_data_plane_count_until_it_ends() {
    let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
    let goes_on = std::sync::Mutex::new(goes_on);
    let origin = Origin::raw(move |conn, _| {
        conn.read_message("")?;
        goes_on.lock().unwrap().recv_timeout(PATIENCE).ok();
        conn.try_send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    });
    let mut first = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut slow = first.connect();
    slow.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for("the request", || (origin.requests() == 1).then_some(()));
    let mut second = successor(&first);
    assert_eq!((in_flight(&second), second.status().connections), (1, 1));
    // The second data plane is replaced in turn, before the first has ended.
    let third = successor(&second);
    assert_eq!(in_flight(&third), 1);
    go_on.send(()).unwrap();
    assert_eq!(slow.answer().text(), "hi");
    wait_for("nothing is in flight", || (in_flight(&third) == 0).then_some(()));
    first.end();
    second.end();
}

#[test]
fn replaced_data_plane_applies_tables_of_its_successor() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let mut first = Proxy::with(&shop(1, vec![live(BLUE, &[blue.address])]));
    let mut kept = first.connect();
    assert_eq!(kept.get("/").header("x-origin").as_deref(), Some("blue"));
    kept.send("GET / HTTP/1.1\r\nHost: a\r\n");
    let mut second = successor(&first);
    second.put(&shop(2, vec![live(GREEN, &[green.address])]));
    kept.send("\r\n");
    let last = kept.answer();
    assert_eq!(
        (last.header("x-origin").as_deref(), last.header("connection").as_deref()),
        (Some("green"), Some("close"))
    );
    // A client of the first data plane reaches the second.
    wait_for("the control connection goes on", || {
        first.control.call(|client| async { client.put_table(&shop(3, vec![live(BLUE, &[blue.address])])).await }).ok()
    });
    assert_eq!(second.status().table_version, 3);
    first.end();
    assert_eq!(second.get("a", "/").header("x-origin").as_deref(), Some("blue"));
    second.end();
}

#[test]
fn data_plane_answers_again_when_successor_is_killed_midway() {
    let origin = Origin::named("blue");
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    // The killed successor had bound its sockets and not yet asked its predecessor to yield.
    for place in [handover::socket_path(&proxy.config.control_socket), proxy.config.control_socket.clone()] {
        let beside = place.with_extension("killed");
        drop(std::os::unix::net::UnixListener::bind(&beside).unwrap());
        std::fs::rename(&beside, &place).unwrap();
    }
    let taken = wait_for("it answers", || handover::take(&proxy.config.control_socket).ok());
    assert_eq!(taken.len(), 1);
    let table = shop(2, vec![live(BLUE, &[origin.address])]);
    proxy.control.call(|client| client.put_table(&table)).unwrap();
    assert_eq!(proxy.connect().get("/").status(), 200);
}

#[test]
fn held_requests_of_replaced_data_plane_follow_successor_table() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let mut first = Proxy::with(&held(1, vec![live(BLUE, &[blue.address])], HoldSettings::default()));
    let mut waiting = first.connect();
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let is_held = || (first.status().groups.values().any(|group| group.held == 1)).then_some(());
    wait_for("it waits", is_held);
    let second = successor(&first);
    second.put(&shop(2, vec![live(GREEN, &[green.address])]));
    assert_eq!(waiting.answer().header("x-origin").as_deref(), Some("green"));
    first.end();
}

#[test]
fn successor_applies_predecessor_table_instead_of_older_file() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let mut first = Proxy::with(&shop(1, vec![live(BLUE, &[blue.address])]));
    let older = std::fs::read(&first.config.table_file).unwrap();
    first.put(&shop(2, vec![live(GREEN, &[green.address])]));
    std::fs::write(&first.config.table_file, older).unwrap();
    let second = successor(&first);
    assert_eq!(second.get("a", "/").header("x-origin").as_deref(), Some("green"));
    assert_eq!(second.status().applied_version, 2);
    first.end();
}

#[test]
fn event_stream_ends_cleanly_when_data_plane_stops() {
    let origin = Origin::raw(|conn, _| {
        conn.read_message("")?;
        conn.try_send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ndata: 1\r\n",
        )?;
        // No further byte arrives for as long as the client listens.
        conn.read_head().map(drop)
    });
    let table = shop(1, vec![live(BLUE, &[origin.address])]);
    let mut proxy = Proxy::configured(&table, |config| config.limits.stop_timeout = Duration::from_millis(3_200));
    let mut stream = proxy.connect();
    stream.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(stream.read_until("data: 1\r\n").is_ok());
    proxy.end();
    let rest = String::from_utf8(stream.read_to_end()).unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the answer is cut off: {rest:?}");
}

#[test]
fn late_change_is_on_disk_when_acknowledged() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let proxy = Proxy::with(&shop(2, vec![live(BLUE, &[blue.address])]));
    // The same version: the newest record belongs to another application.
    let applied = proxy.put(&shop(2, vec![live(GREEN, &[green.address])]));
    assert!(applied.persisted);
    let proxy = proxy.restart(|_| {});
    assert_eq!(proxy.get("a", "/").header("x-origin").as_deref(), Some("green"));
}
