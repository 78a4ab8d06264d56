//! HTTP, request by request: [`conn`] takes a client in, [`exchange`] carries one request through. START READING with
//! [`exchange`].
//!
//! Pingora reads and writes HTTP; everything else is here, and nothing of it asks Pingora what a request means before
//! [`guard`] has seen that it means one thing.

mod bare;
pub mod body;
pub mod conn;
pub mod connect;
pub mod cookie;
pub mod exchange;
pub mod forwarded;
pub mod guard;
pub mod headers;
pub mod held;
pub mod io;
pub mod problem;
pub mod relay;
mod report;
pub mod routes;
#[cfg(test)]
mod tests;
pub mod trace;
pub mod upstream;

use std::sync::Arc;

use http::HeaderValue;
use http::header::HeaderName;

pub use self::conn::serve;
use self::cookie::Affinity;
use self::guard::Bounds;
use self::relay::Patience;
use self::routes::Routes;
use super::admit::Keys;
use super::budget::Budget;
use super::edge::Edge;
use crate::observe::metrics::HttpMetrics;
use crate::time::Duration;
use crate::upstream::pool::Pool;
use crate::wire::cidr::Cidr;

/// What all conns of a listener share.
pub struct Listener {
    /// What every listener has.
    pub edge: Edge,
    /// Where requests go.
    pub routes: Routes<Place>,
    /// How they are served.
    pub with: Settings,
    /// What all conns of the process keep together.
    pub buffered: Arc<Budget>,
    /// What is counted of them.
    pub metrics: HttpMetrics,
}

/// Where requests go.
pub struct Place {
    /// Who serves them.
    pub pool: Arc<Pool>,
    /// How each gets its key there.
    pub keys: Keys,
}

/// How requests of a listener are served.
#[derive(Debug)]
pub struct Settings {
    /// How large a head may be.
    pub bounds: Bounds,
    /// Bytes of a JSON body that are looked at; `None`: no identity is in one.
    pub inspected: Option<usize>,
    /// Bytes that a body may have; `None`: any.
    pub max_body: Option<u64>,
    /// Whose word on where clients are counts.
    pub trusted: Vec<Cidr>,
    /// Fields that name who calls, and whose word on that counts.
    pub spoofable: Vec<(HeaderName, Vec<Cidr>)>,
    /// All fields that name who calls, or what it wants: nobody may have them taken off on the way.
    pub naming: Vec<HeaderName>,
    /// The cookie that keeps a client with its upstream.
    pub affinity: Option<Arc<Affinity>>,
    /// How long who may be silent.
    pub patience: Patience,
    /// For a connection to an upstream.
    pub connect_timeout: Duration,
    /// For the head of a request, from its first byte; and for a body that is looked at.
    pub head_timeout: Duration,
    /// Between requests of a conn.
    pub keep_alive: Duration,
    /// Requests of one conn, after which it is closed.
    pub max_requests: u32,
    /// How often a request is tried again at most.
    pub retries: u32,
    /// What who does not prove who it is is asked for.
    pub challenge: Option<HeaderValue>,
    /// Whether each request has its line in the log.
    pub log: bool,
}
