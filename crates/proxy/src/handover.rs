//! Listening sockets from process to process: so that a new data plane, or one that replaces a dead one, accepts from
//! the very queue that connections wait in, and none is refused.
//!
//! A data plane listens at `<control socket>.fds`. Who connects sends one byte, `T` to take or `G` to give, the latter with
//! the sockets attached, and gets one byte back, a full stop, in the former case with the sockets attached.

use crate::plane::Plane;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;

/// Asks for the sockets.
const TAKE: u8 = b'T';
/// Brings sockets.
const GIVE: u8 = b'G';
/// Ends an exchange.
const DONE: u8 = b'.';

/// Sockets of one exchange. The kernel allows 253.
pub const SOCKETS_MAX: usize = 128;

/// Connections that wait to be accepted, while no data plane accepts.
pub const BACKLOG: i32 = 4096;

/// How long the other side may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where the data plane with that control socket hands sockets over.
#[must_use]
pub fn socket_path(control_socket: &Path) -> PathBuf {
    let mut path = control_socket.as_os_str().to_owned();
    path.push(".fds");
    PathBuf::from(path)
}

/// A listening socket as a data plane uses it: with the right backlog, not blocking.
///
/// # Errors
/// What the system says, such as that the port is taken or that low ports need a capability.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = if address.is_ipv4() { socket2::Domain::IPV4 } else { socket2::Domain::IPV6 };
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    // Addresses of connections in TIME-WAIT may be bound again; a port that somebody listens on may not.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A duplicate of a listening socket that somebody else opened, as a data plane uses it: not blocking.
pub(crate) fn inherited(listener: &TcpListener) -> io::Result<TcpListener> {
    let listener = listener.try_clone()?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Takes duplicates of the listening sockets of the data plane with that control socket. It goes on accepting.
/// Blocks for up to 5 s.
///
/// # Errors
/// Where no data plane answers there.
pub fn take(control_socket: &Path) -> io::Result<Vec<TcpListener>> {
    let stream = connect(control_socket)?;
    send(&stream, TAKE, &[])?;
    let (byte, sockets) = receive(&stream)?;
    if byte == DONE { Ok(sockets) } else { Err(unexpected(byte)) }
}

/// Gives duplicates of `sockets` to the data plane with that control socket, which begins to accept on those at
/// addresses that it does not listen on already. Blocks for up to 5 s.
///
/// # Errors
/// Where no data plane answers there.
pub fn give(control_socket: &Path, sockets: &[TcpListener]) -> io::Result<()> {
    let stream = connect(control_socket)?;
    let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
    send(&stream, GIVE, &sockets)?;
    let (byte, _) = receive(&stream)?;
    if byte == DONE { Ok(()) } else { Err(unexpected(byte)) }
}

/// Hands sockets over to whoever asks, for ever.
pub(crate) async fn serve(listener: UnixListener, plane: Arc<Plane>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "handover socket: cannot accept; retrying");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let plane = Arc::clone(&plane);
        // Descriptors travel by calls that may block; the deadlines of `exchange` bound them.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = stream.into_std().and_then(|stream| exchange(&stream, &plane)) {
                tracing::warn!(%error, "handover of listening sockets failed");
            }
        });
    }
}

fn exchange(stream: &UnixStream, plane: &Plane) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    match receive(stream)? {
        (TAKE, _) => {
            let sockets = plane.listeners()?;
            let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
            send(stream, DONE, &sockets)
        }
        (GIVE, sockets) => {
            for socket in sockets {
                plane.listen(socket)?;
            }
            send(stream, DONE, &[])
        }
        (byte, _) => Err(unexpected(byte)),
    }
}

fn connect(control_socket: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket_path(control_socket))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

fn unexpected(byte: u8) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unexpected byte {byte:#04x} in a handover of sockets"))
}

/// Sends one byte with sockets attached. The kernel keeps them alive while they are under way.
fn send(stream: &UnixStream, byte: u8, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    if sockets.len() > SOCKETS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "more sockets than one handover can carry"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !attached.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::other("the sockets do not fit in one message"));
    }
    let sent = rustix::net::sendmsg(stream, &[IoSlice::new(&[byte])], &mut attached, SendFlags::NOSIGNAL)?;
    if sent == 1 { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives one byte and the sockets attached to it.
fn receive(stream: &UnixStream) -> io::Result<(u8, Vec<TcpListener>)> {
    let mut byte = [0_u8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut attached = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(&mut byte)];
    let received = rustix::net::recvmsg(stream, &mut buffers, &mut attached, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes != 1 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut sockets = Vec::new();
    for message in attached.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            for descriptor in descriptors {
                sockets.push(listener(descriptor)?);
            }
        }
    }
    Ok((byte[0], sockets))
}

/// A descriptor that came from outside is a listening TCP socket or it is not taken.
fn listener(descriptor: OwnedFd) -> io::Result<TcpListener> {
    let socket = socket2::Socket::from(descriptor);
    if !socket.is_listener()? || socket.local_addr()?.as_socket().is_none() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a descriptor is not a listening TCP socket"));
    }
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
