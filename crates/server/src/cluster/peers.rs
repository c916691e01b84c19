//! Connections between servers: TLS, and both sides show a certificate that the same CA signed.

use crate::config::PeersConfig;
use crate::error::ServerError;
use crate::http::{ApiGate, Caller};
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::client;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, server};

/// How long the TLS handshake with another server may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// The maximum number of concurrent handshakes; further connections wait.
const HANDSHAKES_MAX: usize = 32;
/// The wait before the next accept after a failed one, for example for lack of file descriptors.
const ACCEPT_RETRY_AFTER: Duration = Duration::from_millis(100);

/// The client side: connects to other servers.
#[derive(Clone)]
pub(super) struct Outgoing(TlsConnector);

/// The server side: accepts connections of other servers.
pub(super) struct Incoming {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Outgoing {
    /// A client with the certificate and the CA of `config`.
    pub(super) fn new(config: &PeersConfig) -> Result<Outgoing, ServerError> {
        let made = || -> Result<ClientConfig, String> {
            let (roots, chain, key) = parse(config)?;
            let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
            let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
            builder.with_root_certificates(roots).with_client_auth_cert(chain, key).map_err(|error| error.to_string())
        };
        let made = made().map_err(|why| unusable(config, format!("`peers`: {why}")))?;
        Ok(Outgoing(TlsConnector::from(Arc::new(made))))
    }

    /// Connects to the server at `address`.
    pub(super) async fn connect(&self, address: &str) -> io::Result<client::TlsStream<TcpStream>> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        self.0.connect(name, stream).await
    }
}

impl Incoming {
    /// Listens on the address of `config`.
    pub(super) async fn bind(config: &PeersConfig) -> Result<Incoming, ServerError> {
        let made = || -> Result<ServerConfig, String> {
            let (roots, chain, key) = parse(config)?;
            let provider = Arc::new(ring::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            let verifier = verifier.build().map_err(|error| error.to_string())?;
            let builder = ServerConfig::builder_with_provider(provider);
            let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
            builder.with_client_cert_verifier(verifier).with_single_cert(chain, key).map_err(|error| error.to_string())
        };
        let made = made().map_err(|why| unusable(config, format!("`peers`: {why}")))?;
        let listener = TcpListener::bind(config.listen).await;
        let listener =
            listener.map_err(|error| unusable(config, format!("{error}; choose another `listen` in `[peers]`")))?;
        Ok(Incoming { listener, acceptor: TlsAcceptor::from(Arc::new(made)) })
    }

    /// Serves the API of `gate` to other servers, without end.
    pub(super) async fn serve(self, gate: ApiGate) {
        let address = self.listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
        let (sender, ready) = mpsc::channel(HANDSHAKES_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(self.accept_all(sender));
        let service = gate.router().into_make_service_with_connect_info::<Caller>();
        let ended = axum::serve(Ready { ready, address }, service).await;
        tracing::error!(
            "stopped serving other servers: {ended:?}; they cannot forward to this server until it restarts"
        );
    }

    async fn accept_all(self, ready: mpsc::Sender<(server::TlsStream<TcpStream>, SocketAddr)>) {
        let permits = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let mut tasks = JoinSet::new();
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            let (stream, address) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!("cannot accept a connection of another server: {error}; retrying");
                    tokio::time::sleep(ACCEPT_RETRY_AFTER).await;
                    continue;
                }
            };
            let (acceptor, ready) = (self.acceptor.clone(), ready.clone());
            while tasks.try_join_next().is_some() {}
            tasks.spawn(async move {
                let _permit = permit;
                match tokio::time::timeout(HANDSHAKE_DEADLINE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => drop(ready.send((stream, address)).await),
                    Ok(Err(error)) => {
                        tracing::warn!(%address, %error, "rejected peer: no certificate signed by the configured CA");
                    }
                    Err(_) => tracing::warn!(%address, "rejected peer: no certificate within {HANDSHAKE_DEADLINE:?}"),
                }
            });
        }
    }
}

/// Connections whose peer has shown its certificate.
struct Ready {
    ready: mpsc::Receiver<(server::TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl Listener for Ready {
    type Io = server::TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            // The sender ends only with this server.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

impl Connected<IncomingStream<'_, Ready>> for Caller {
    fn connect_info(_: IncomingStream<'_, Ready>) -> Self {
        Caller::Server
    }
}

type Parsed = (RootCertStore, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn parse(config: &PeersConfig) -> Result<Parsed, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&config.ca) {
        let certificate = certificate.map_err(|error| format!("`ca` is not a certificate: {error}"))?;
        roots.add(certificate).map_err(|error| format!("`ca` is not a certificate: {error}"))?;
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&config.cert).collect();
    let chain = chain.map_err(|error| format!("`cert` is not a certificate: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(&config.key).map_err(|error| format!("`key` is not a key: {error}"))?;
    if roots.is_empty() || chain.is_empty() {
        return Err("`ca` or `cert` contains no certificate".to_owned());
    }
    Ok((roots, chain, key))
}

fn unusable(config: &PeersConfig, why: String) -> ServerError {
    ServerError::Peers { address: config.listen.to_string(), why }
}
