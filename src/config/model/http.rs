//! What is asked for of an `http` listener. Plain values; the cookie's key is a secret and is never shown.

use crate::config::secret::Secret;
use crate::time::Duration;
use crate::wire::cidr::Cidr;
use crate::wire::host::Host;

/// `[listener.http]`
#[derive(Clone, Debug)]
pub struct Http {
    /// Proxies whose word on where clients are counts.
    pub trusted: Vec<Cidr>,
    /// Bytes of the head of a request.
    pub max_head: usize,
    /// Bytes of its target.
    pub max_target: usize,
    /// Fields of its head.
    pub max_fields: usize,
    /// Bytes of a body in which it is looked for whom it is for.
    pub max_inspected_body: usize,
    /// Bytes of a body; `None`: any number.
    pub max_body: Option<usize>,
    /// For the head of a request, from its first byte; and for what is looked at of its body.
    pub head_timeout: Duration,
    /// For the next request of a conn.
    pub keep_alive_timeout: Duration,
    /// Requests of one conn; at least 1.
    pub max_requests: u32,
    /// For a connection to an upstream.
    pub connect_timeout: Duration,
    /// From the end of a request to the first byte of its answer.
    pub first_byte_timeout: Duration,
    /// Between bytes of a request's body.
    pub body_timeout: Duration,
    /// Between bytes of an answer.
    pub idle_timeout: Duration,
    /// How often a request is tried again at most.
    pub retries: u32,
    /// The cookie that keeps a client with its upstream; `None`: there is none.
    pub cookie: Option<Cookie>,
}

impl Default for Http {
    fn default() -> Self {
        Http {
            trusted: Vec::new(),
            max_head: 32 * 1024,
            max_target: 8 * 1024,
            max_fields: 100,
            max_inspected_body: 64 * 1024,
            max_body: None,
            head_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(60),
            max_requests: 10_000,
            connect_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(300),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(600),
            retries: 2,
            cookie: None,
        }
    }
}

/// `[listener.http.cookie]`
#[derive(Clone, Debug)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// How long it holds; at least a second.
    pub ttl: Duration,
    /// What it is signed with; `None`: something that this process alone knows.
    pub secret: Option<Secret>,
}

impl Cookie {
    /// What the cookie of a route's pool is called, where that of the listener's own is `name`. Names of pools are of letters
    /// that those of cookies may have.
    pub fn name_for(name: &str, pool: &str) -> String {
        format!("{name}-{pool}")
    }
}

/// One `[[listener.route]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// For these hosts.
    pub host: Host,
    /// For this path and all below it.
    pub path: String,
    /// The pool that serves it: the name of one of `Config::pools`.
    pub pool: String,
}
