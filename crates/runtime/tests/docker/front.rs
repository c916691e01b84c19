//! A socket in front of the Engine's: records each request, and may answer in the Engine's place.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, mpsc};

/// An answer in place of the Engine's to a request's first line: a status and a message.
type Answer = dyn Fn(&str) -> Option<(u16, String)> + Send + Sync;

/// Listens at that path. Each recorded line comes with the number of its connection.
pub fn listen(
    path: &Path,
    answer: impl Fn(&str) -> Option<(u16, String)> + Send + Sync + 'static,
) -> mpsc::Receiver<(String, UnixStream)> {
    let (requests, asked) = mpsc::channel();
    let answer: Arc<Answer> = Arc::new(answer);
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let engine = UnixStream::connect("/var/run/docker.sock").unwrap();
            let (mut from, mut to) = (engine.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
            let (requests, answer) = (requests.clone(), answer.clone());
            std::thread::spawn(move || pass(client, engine, &requests, &*answer));
        }
    });
    asked
}

fn pass(
    mut client: UnixStream,
    mut engine: UnixStream,
    requests: &mpsc::Sender<(String, UnixStream)>,
    answer: &Answer,
) {
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = client.read(&mut piece) {
        let text = String::from_utf8_lossy(&piece[..count]);
        if let Some(line) = text.lines().next().filter(|line| line.ends_with(" HTTP/1.1")) {
            let _ = requests.send((line.to_owned(), client.try_clone().unwrap()));
            if let Some((status, message)) = answer(line) {
                let body = format!("{{\"message\":\"{message}\"}}");
                let head = format!("HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\n");
                let whole = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
                if client.write_all(whole.as_bytes()).is_err() {
                    break;
                }
                continue;
            }
        }
        if engine.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    let _ = engine.shutdown(Shutdown::Both);
}
