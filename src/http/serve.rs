//! The accept loop. `axum::serve` sets no time-outs, so this one is ours: every connection has a
//! time for its head, for its body and for reading our answer; there is a bound on connections;
//! and stopping waits for requests under way, but not for long.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

use super::door::Reached;
use super::events::stopped;
use super::site::{App, Handles, Site};
use super::{Live, Settings, Token, health};

/// Between two health events while somebody listens.
const HEALTH_EVERY: Duration = Duration::from_secs(5);

/// Why we cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "{0} can be reached from other machines, and the token would travel unencrypted; listen on 127.0.0.1 behind a \
         TLS proxy or an SSH tunnel, or accept it with --insecure-listen"
    )]
    Exposed(SocketAddr),
    #[error("could not listen on {address}: {source}; another daemon may use it: choose another port with --listen")]
    Taken { address: SocketAddr, source: io::Error },
}

/// An address that is ours, not yet served.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    settings: Settings,
}

impl Listener {
    /// The address with the port that the kernel chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `serve` prints: the address with the token, for a browser on this machine.
    pub fn link(&self, token: &Token) -> String {
        let ip = self.address.ip();
        let port = self.address.port();
        let host = match ip {
            _ if ip.is_unspecified() => "localhost".to_owned(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
            std::net::IpAddr::V4(ip) => ip.to_string(),
        };
        format!("http://{host}:{port}/?token={}", token.reveal())
    }
}

/// Takes the address.
pub fn bind(settings: &Settings) -> Result<Listener, BindError> {
    let address = settings.listen;
    if !address.ip().to_canonical().is_loopback() && !settings.insecure_listen {
        return Err(BindError::Exposed(address));
    }
    let taken = |source| BindError::Taken { address, source };
    let listener = TcpListener::bind(address).map_err(taken)?;
    listener.set_nonblocking(true).map_err(taken)?;
    Ok(Listener {
        address: listener.local_addr().map_err(taken)?,
        listener,
        settings: settings.clone(),
    })
}

/// Serves until `shutdown` comes, then ends streams, lets requests under way finish within the
/// drain time, and returns. Needs a tokio runtime with I/O and time.
pub async fn serve(
    listener: Listener,
    handles: Handles,
    live: Live,
    token: Token,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (stop, stopping) = watch::channel(false);
    let site = Arc::new(Site::new(
        (Arc::new(handles.inspector), Arc::new(handles.history), handles.runs),
        live,
        token,
        listener.settings.clone(),
        listener.address.port(),
        stopping,
    ));
    accept(listener.listener, site, stop, shutdown).await
}

pub(super) async fn accept(
    listener: TcpListener,
    site: Arc<Site>,
    stop: watch::Sender<bool>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let seats = Arc::new(Semaphore::new(site.settings.max_connections));
    let app = site.clone().app();
    let mut connections = JoinSet::new();
    let teller = tokio::spawn(tell_health(site.clone()));
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, _) = tokio::select! {
            () = &mut shutdown => break,
            // Ended connections leave the set as they go.
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: some will be closed soon.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let Ok(seat) = seats.clone().try_acquire_owned() else {
            refuse(&stream);
            continue;
        };
        let app = app.clone();
        let site = site.clone();
        connections.spawn(async move {
            let _seat = seat;
            converse(stream, app, &site).await;
        });
    }

    drop(listener);
    teller.abort();
    stop.send_replace(true);
    let drained = tokio::time::timeout(site.settings.drain, async {
        while connections.join_next().await.is_some() {}
    });
    if drained.await.is_err() {
        tracing::warn!(
            left = connections.len(),
            "connections were cut: they did not end in time"
        );
    }
    // Dropping the set ends what is left.
    Ok(())
}

/// No seat is left: said in one write that does not wait, then closed.
fn refuse(stream: &TcpStream) {
    const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
        retry-after: 1\r\nconnection: close\r\ncontent-length: 140\r\n\r\n";
    const BODY: &str = r#"{"type":"urn:threadscape:problem:busy","title":"Service Unavailable","status":503,"detail":"there are too many connections already"}"#;
    let mut answer = FULL.to_vec();
    answer.extend_from_slice(format!("{BODY:140}").as_bytes());
    let _ = stream.try_write(&answer);
}

/// One connection, from its first request to its last.
async fn converse(stream: TcpStream, app: App, site: &Site) {
    let settings = &site.settings;
    let Ok(reached) = stream.local_addr() else { return };
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Patient::new(stream, settings.write_timeout));
    let service = service_fn(move |request: Request<Incoming>| {
        let app = app.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Reached(reached));
            Ok::<_, std::convert::Infallible>(app.answer(request).await)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_buf_size(settings.max_header_bytes.max(8192))
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut stopping = site.stopping.clone();
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients come and go: nothing that a log should fill with.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Tells streams how we are, now and then, while there are any.
async fn tell_health(site: Arc<Site>) {
    loop {
        tokio::time::sleep(HEALTH_EVERY).await;
        if site.streams.available_permits() < site.settings.max_streams
            && let Ok(health) = site.ask(|site| Ok(health::now(site))).await
        {
            site.live.health(&health);
        }
    }
}

/// A stream whose writes may wait only so long for a client that does not read.
struct Patient {
    stream: TcpStream,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream, patience: Duration) -> Patient {
        Patient {
            stream,
            patience,
            waiting: None,
        }
    }

    /// Passes a result on; starts the clock when there is none, stops it when there is one.
    fn limit<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.waiting = None;
            return result;
        }
        let patience = self.patience;
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.limit(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.limit(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.limit(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.limit(context, result)
    }
}
