//! Listeners that relay bytes without reading them.

use crate::time::Duration;

/// `[listener.tcp]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// For one connection to an upstream to be made.
    pub connect_timeout: Duration,
    /// How many other upstreams are tried, when one cannot be reached.
    pub connect_retries: u32,
    /// Without a byte in either direction; `None`: for ever.
    pub idle_timeout: Option<Duration>,
    /// The same, once one side has said all; `None`: as long as `idle_timeout`.
    pub half_close_timeout: Option<Duration>,
    /// How old a conn becomes; `None`: as old as it likes.
    pub max_lifetime: Option<Duration>,
    /// Idle time before TCP probes whether the upstream is still there; `None`: never.
    pub upstream_keepalive: Option<Duration>,
    /// How long an upstream's system may leave bytes unacknowledged; `None`: as the kernel has it.
    pub upstream_user_timeout: Option<Duration>,
    /// What becomes of conns whose upstream is down.
    pub on_upstream_down: OnUpstreamDown,
}

impl Default for Tcp {
    fn default() -> Self {
        Tcp {
            connect_timeout: Duration::from_secs(5),
            connect_retries: 2,
            idle_timeout: Some(Duration::from_hours(1)),
            half_close_timeout: Some(Duration::from_mins(5)),
            max_lifetime: None,
            upstream_keepalive: Some(Duration::from_mins(1)),
            upstream_user_timeout: Some(Duration::from_mins(1)),
            on_upstream_down: OnUpstreamDown::Keep,
        }
    }
}

/// What becomes of conns whose upstream is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnUpstreamDown {
    /// They go on, as long as they can.
    Keep,
    /// They are reset.
    Cut,
}

/// Which PROXY header an upstream is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SendProxy {
    /// Addresses alone, as a line of text.
    V1,
    /// Addresses, and what is known of TLS and its certificate.
    V2,
}

words! {
    OnUpstreamDown { "keep" => Keep, "cut" => Cut }
    SendProxy { "v1" => V1, "v2" => V2 }
}
