//! Tests of the judge: the ledger counts exactly the served requests, and sees every fault of an origin.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use gapless_ledger::{Kind, Ledger, LoadPlan, Mix, Report};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A fault of the origin in every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Status500,
    DropsBeforeAnswer,
    Truncates,
    WrongEcho,
    CutsWebSocket,
    ClosesWebSocketWith1012,
}

struct Origin {
    address: SocketAddr,
    served: Arc<AtomicU64>,
}

impl Origin {
    fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(AtomicU64::new(0));
        let count = served.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let count = count.clone();
                std::thread::spawn(move || drop(serve(stream, fault, &count)));
            }
        });
        Origin { address, served }
    }
}

fn serve(stream: TcpStream, fault: Fault, served: &AtomicU64) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body)?;
        if head.starts_with("GET /ws/echo") {
            return converse(reader, writer, fault);
        }
        served.fetch_add(1, Ordering::SeqCst);
        let mut answer = if head.starts_with("POST") { body } else { b"hello".to_vec() };
        if head.starts_with("GET /download") {
            answer = vec![b'.'; 64 << 10];
        }
        if fault == Fault::WrongEcho && head.starts_with("POST") {
            answer[0] ^= 1;
        }
        let status = if fault == Fault::Status500 { "500 Broken" } else { "200 OK" };
        let head = format!("HTTP/1.1 {status}\r\nX-Release: 1\r\nContent-Length: {}\r\n\r\n", answer.len());
        match fault {
            Fault::DropsBeforeAnswer => return writer.shutdown(Shutdown::Both),
            Fault::Truncates => {
                writer.write_all(head.as_bytes())?;
                writer.write_all(&answer[..answer.len() / 2])?;
                return writer.shutdown(Shutdown::Both);
            }
            _ => {
                writer.write_all(head.as_bytes())?;
                writer.write_all(&answer)?;
            }
        }
    }
}

/// Echoes one message, then ends the connection according to the fault.
fn converse(mut reader: impl Read, mut writer: TcpStream, fault: Fault) -> std::io::Result<()> {
    writer.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nX-Release: 1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    )?;
    loop {
        let mut head = [0; 6];
        reader.read_exact(&mut head)?;
        let mut payload = vec![0; usize::from(head[1] & 0x7f)];
        reader.read_exact(&mut payload)?;
        payload.iter_mut().zip(head[2..].iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        let length = u8::try_from(payload.len()).unwrap();
        writer.write_all(&[&[0x81, length][..], &payload].concat())?;
        match fault {
            Fault::CutsWebSocket => return writer.shutdown(Shutdown::Both),
            Fault::ClosesWebSocketWith1012 => {
                writer.write_all(&[0x88, 2, 0x03, 0xf4])?;
                return Ok(());
            }
            _ => {}
        }
    }
}

fn plan(origin: &Origin, mix: Mix, requests: u64) -> LoadPlan {
    LoadPlan {
        rate_per_s: 2_000,
        mix,
        requests_max: Some(requests),
        event_streams: 0,
        websockets: 0,
        ..LoadPlan::new(origin.address)
    }
}

/// Runs a load until its end.
fn run(plan: LoadPlan) -> Report {
    let wanted = plan.requests_max.unwrap();
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    tokio.block_on(async {
        let running = Ledger::start(plan);
        let give_up_at = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        while running.requests() < wanted {
            assert!(tokio::time::Instant::now() < give_up_at, "{:?}", running.snapshot());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        running.stop().await
    })
}

#[test]
fn ledger_counts_exactly_the_served_requests() {
    let origin = Origin::start(Fault::None);
    let report = run(plan(&origin, Mix::All, 1_000));
    assert_eq!((report.requests, report.failed), (1_000, 0), "{:?}", report.failures);
    assert_eq!(origin.served.load(Ordering::SeqCst), 1_000);
    assert_eq!(report.by_release["1"].requests, 1_000);
    let kinds = [Kind::Get, Kind::GetFresh, Kind::Post, Kind::Download].map(|kind| report.by_kind[&kind]);
    assert_eq!(kinds, [690, 100, 200, 10]);
}

#[test]
fn ledger_records_every_fault_each_time() {
    for fault in [Fault::Status500, Fault::DropsBeforeAnswer, Fault::Truncates] {
        let report = run(plan(&Origin::start(fault), Mix::All, 200));
        assert_eq!((report.requests, report.failed), (200, 200), "{fault:?}: {:?}", report.failures.first());
        assert_eq!(report.failures.len(), 100, "the first hundred are kept");
    }
    let report = run(plan(&Origin::start(Fault::WrongEcho), Mix::All, 200));
    assert_eq!(report.failed, report.by_kind[&Kind::Post], "only wrong echoes fail");
    assert_eq!(report.failed, 40);
}

#[test]
fn connection_refused_is_a_failure_each_time() {
    let address = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let origin = Origin { address, served: Arc::default() };
    let report = run(plan(&origin, Mix::Get, 50));
    assert_eq!((report.requests, report.failed), (50, 50));
}

#[test]
fn websocket_fails_when_cut_but_not_when_closed() {
    for (fault, is_failure) in [(Fault::CutsWebSocket, true), (Fault::ClosesWebSocketWith1012, false)] {
        let origin = Origin::start(fault);
        let report = run(LoadPlan { websockets: 1, rate_per_s: 100, ..plan(&origin, Mix::All, 100) });
        assert_eq!(report.failed > 0, is_failure, "{fault:?}: {:?}", report.failures);
        assert_eq!(report.moved > 0, !is_failure, "{fault:?}");
        assert!(report.failures.iter().all(|failure| failure.kind == Kind::WebSocket));
    }
}

#[test]
fn ledger_agrees_with_wrk_on_served_requests() {
    let origin = Origin::start(Fault::None);
    let url = format!("http://{}/", origin.address);
    let output = Command::new("wrk").args(["-t1", "-c4", "-d1s", &url]).output().expect("wrk is installed");
    let said = String::from_utf8(output.stdout).unwrap();
    let by_wrk: u64 = said.lines().find_map(|line| line.trim().split_once(" requests in")?.0.parse().ok()).unwrap();
    let served = origin.served.swap(0, Ordering::SeqCst);
    // wrk does not finish the requests on its four connections at the end of its time.
    assert!(served.abs_diff(by_wrk) <= 4, "wrk says {by_wrk}, the origin {served}");
    let report = run(plan(&origin, Mix::Get, 2_000));
    assert_eq!((report.requests, origin.served.load(Ordering::SeqCst)), (2_000, 2_000));
}
