//! `[listener.tcp]`: how long its conns may take, and what becomes of them.

use crate::config::file::Problems;
use crate::config::keys;
use crate::config::model::{OnUpstreamDown, Protocol, Tcp};
use crate::config::reader::Reader;
use crate::config::values::{self, MS, WEEK};
use crate::time::Duration;

const MAX_RETRIES: u32 = 100;

/// Of the listener `r`.
pub(super) fn read(r: &Reader<'_>, protocol: Protocol, problems: &Problems<'_>) -> Tcp {
    let d = Tcp::default();
    let at = r.place_of("tcp");
    let Some(r) = r.table("tcp", &keys::TCP) else { return d };
    if protocol != Protocol::Tcp {
        problems.error(&at, "[listener.tcp] belongs to protocol = \"tcp\"");
    }
    // 0 is never, in each of them.
    let time = |key, default: Option<Duration>| {
        let time = values::duration(Duration::ZERO..=WEEK);
        let read = r.or(key, time, default.unwrap_or_default());
        (!read.is_zero()).then_some(read)
    };
    let tcp = Tcp {
        connect_timeout: r.or("connect_timeout", values::duration(MS..=WEEK), d.connect_timeout),
        connect_retries: r.or(
            "connect_retries",
            values::integer(0..=MAX_RETRIES),
            d.connect_retries,
        ),
        idle_timeout: time("idle_timeout", d.idle_timeout),
        half_close_timeout: time("half_close_timeout", d.half_close_timeout),
        max_lifetime: time("max_lifetime", d.max_lifetime),
        upstream_keepalive: time("upstream_keepalive", d.upstream_keepalive),
        upstream_user_timeout: time("upstream_user_timeout", d.upstream_user_timeout),
        on_upstream_down: r.or(
            "on_upstream_down",
            values::word(OnUpstreamDown::WORDS),
            d.on_upstream_down,
        ),
    };
    if let (Some(idle), Some(half)) = (tcp.idle_timeout, tcp.half_close_timeout)
        && half > idle
        && r.raw("half_close_timeout").is_some()
    {
        let message = "half_close_timeout has no effect: idle_timeout is shorter";
        problems.warn(&r.place_of("half_close_timeout"), message);
    }
    tcp
}
