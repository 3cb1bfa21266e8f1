//! What outsiders see: REST, live events, metrics and the dashboard's files.
//!
//! [`bind`] takes the address (and refuses one beyond loopback unless told), [`serve`] runs an
//! accept loop of our own with a limit on everything a client can make us hold or wait for. A
//! request passes `door` (host, origin, token, content type), then `routes` finds its resource:
//! one file each, which asks a handle of `observe`, `scenario` or `history` and lends the answer
//! to the shapes in `wire`. The command line's `--json` goes through the same shapes. Handles block, so they are asked on a bounded number of threads, with
//! a time-out. [`Live`] is the way in for the sampler and the workbench: `events` passes what they
//! tell on to every stream, and can repeat what a client has missed.
//!
//! Absent on purpose: CORS, TLS (a proxy's work), and any way to change a process that we watch.

mod ask;
mod assets;
mod door;
mod events;
mod findings;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod health;
mod history;
mod locks;
mod looks;
mod memory;
mod metrics;
mod openapi;
mod pools;
mod problem;
mod processes;
mod routes;
mod runs;
mod scenarios;
mod serve;
mod site;
mod stacks;
mod threads;
mod token;
pub(crate) mod wire;
mod workloads;

#[cfg(test)]
pub(crate) mod fakes;
#[cfg(test)]
mod tests;

pub use events::Live;
pub use serve::{BindError, Listener, bind, serve};
pub use site::Handles;
pub use token::{Token, TokenError};

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What the config file and flags may set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub listen: SocketAddr,
    /// Listen beyond loopback although nothing encrypts the token on its way.
    pub insecure_listen: bool,
    /// Host names that clients may use, besides loopback names and the address itself.
    pub allowed_hosts: Vec<String>,
    /// From the moment a connection may send a request to the end of the request's head. An idle
    /// connection is closed after it too.
    pub header_timeout: Duration,
    /// From the end of the head to the end of the body.
    pub body_timeout: Duration,
    /// How long a client may leave an answer unread.
    pub write_timeout: Duration,
    /// How long an answer may take to make.
    pub answer_timeout: Duration,
    pub max_connections: usize,
    /// Event streams at one time.
    pub max_streams: usize,
    pub max_body_bytes: usize,
    pub max_header_bytes: usize,
    /// Between two signs of life on a stream without events.
    pub heartbeat: Duration,
    /// How long requests under way may take to end when the daemon stops.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7717)),
            insecure_listen: false,
            allowed_hosts: Vec::new(),
            header_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(10),
            max_connections: 256,
            max_streams: 64,
            max_body_bytes: 1 << 20,
            max_header_bytes: 32 << 10,
            heartbeat: Duration::from_secs(15),
            drain: Duration::from_secs(3),
        }
    }
}
