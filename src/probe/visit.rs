//! Probes a member that is no CLI, now and then, for as long as it is a member. Nothing is kept open between two probes, and
//! nothing can be asked of it.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use super::http::Unwell;
use super::pace::Pace;
use super::{http, tcp};
use crate::config::HttpProbe;
use crate::health::state::Seen;
use crate::time::{self, Duration};
use crate::upstream::member::{Ears, Member};
use crate::upstream::pool::Pool;
use crate::upstream::tls::Way;

/// Between two probes, however many conns say that they failed.
const NOT_SOONER: Duration = Duration::from_millis(100);

/// What is tried.
#[derive(Clone, Debug)]
pub enum Check {
    /// To connect.
    Tcp,
    /// To ask.
    Http(HttpProbe),
}

/// How a member is probed.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// Between probes.
    pub interval: Duration,
    /// For one.
    pub timeout: Duration,
    /// What is tried.
    pub check: Check,
    /// What an upstream that wants a PROXY header is told first: that the connection is ours.
    pub first: Vec<u8>,
}

/// Probes a member for ever.
pub async fn visit(pool: Arc<Pool>, member: Arc<Member>, mut ears: Ears, with: Parameters) {
    let mut pace = Pace::new(with.interval, u64::from(member.id.0));
    let mut next = time::now() + pace.first();
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = member.moved() => {}
            Some(seen) = ears.hints.recv() => {
                pool.saw(&member, seen);
                // It is looked at sooner: what a conn saw may be its own affair.
                next = next.min(time::now() + NOT_SOONER);
                continue;
            }
            // Whoever asks something hears at once that nobody is there.
            Some(ask) = ears.asks.recv() => {
                drop(ask);
                continue;
            }
        }
        if let Some(address) = member.address() {
            probe(&pool, &member, address, &with).await;
        }
        next = time::now() + pace.next();
    }
}

/// Probes a member once.
async fn probe(pool: &Pool, member: &Member, address: SocketAddr, with: &Parameters) {
    match try_it(with, address, member.way()).await {
        Ok(goodbye) => {
            member.metrics.health_checks.inc("ok");
            member.heard(time::now());
            pool.saw(member, Seen::Answered);
            goodbye.await;
        }
        Err(why) => {
            member.metrics.health_checks.inc("failed");
            pool.saw_because(member, Seen::Silent, Some(&Why(why)));
        }
    }
}

/// What is left to do with a connection that has said enough.
type Goodbye = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn try_it(
    with: &Parameters,
    address: SocketAddr,
    way: Option<&Way>,
) -> Result<Goodbye, Unwell> {
    Ok(match &with.check {
        Check::Tcp => Box::pin(tcp::probe(address, way, with.timeout, &with.first).await?),
        Check::Http(http) => {
            Box::pin(http::probe(address, way, http, with.timeout, &with.first).await?)
        }
    })
}

/// Why a probe failed, for the log.
struct Why(Unwell);

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            // What TLS says of a certificate tells more.
            Unwell::Io(error) => match error.get_ref().and_then(|e| e.downcast_ref()) {
                Some(error) => rustls::Error::fmt(error, f),
                None => write!(f, "{}", error.kind()),
            },
            Unwell::NoHttp => f.write_str("the answer is no HTTP"),
            Unwell::Status(status) => write!(f, "status {status}"),
        }
    }
}

#[cfg(test)]
mod tests;
