//! From a client that was let in to a connection to an upstream: it is placed as sessions are, and where the upstream
//! cannot be reached, another one is tried.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{Conn, Listener, SendProxy, Settings};
use crate::caller::Owner;
use crate::error::Reason;
use crate::health::state::Seen;
use crate::identity::mtls::Field;
use crate::identity::request::Presented;
use crate::proxy::origin::Origin;
use crate::stream::Io;
use crate::tenancy;
use crate::time::{self, Duration};
use crate::upstream::connect::dial;
use crate::upstream::member::{Linked, Member};
use crate::upstream::pool::{Key, Picked, Tried};

use crate::wire::proxy_protocol::{Addresses, Told, ToldTls, write_v1, write_v2};

/// What it took to get there, for the log line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Way {
    /// Connections that were tried.
    pub(super) links: u32,
    pub(super) queue: Duration,
    pub(super) connect: Duration,
}

/// A connection to an upstream, and the room for it.
pub(super) struct Placed {
    pub(super) picked: Picked,
    pub(super) linked: Linked,
    pub(super) socket: Io,
    pub(super) way: Way,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unplaced {
    /// The pool has none for it.
    Refused(Reason),
    /// None of those that were tried can be reached: so many.
    Unreachable(u32),
}

/// What is placed.
struct Wanted {
    listener: Arc<Listener>,
    key: Option<Key>,
    owner: Owner,
    /// What an upstream is told first.
    first: Vec<u8>,
}

impl Conn {
    /// Places and connects.
    pub(super) fn place(
        &self,
        client: &Io,
    ) -> impl Future<Output = Result<Placed, Unplaced>> + Send + use<> {
        let keys = &self.listener.edge.keys;
        let caller = &self.visitor.caller;
        let named = keys.named(&Presented {
            request: None,
            peer: self.origin.address(),
            sni: self.origin.shown().and_then(|shown| shown.sni.as_deref()),
        });
        let wanted = Wanted {
            listener: Arc::clone(&self.listener),
            key: keys.of_named(caller, &named),
            owner: tenancy::owner_of_new(caller, named.user.as_deref()),
            first: self.first(client),
        };
        wanted.find()
    }

    /// What the upstream is told first.
    fn first(&self, client: &Io) -> Vec<u8> {
        let Some(version) = self.listener.with.send_proxy else { return Vec::new() };
        let id = self.id.0.to_string();
        let told = Told {
            addresses: addresses(&self.origin, || client.socket().local_addr().ok()),
            unique_id: Some(&id),
            tls: tls(&self.origin, client.alpn()),
        };
        match version {
            SendProxy::V1 => write_v1(&told),
            SendProxy::V2 => write_v2(&told),
        }
    }
}

/// Both ends of the client's conn, as the first proxy on its way saw them. `None`: that one does not say.
fn addresses(origin: &Origin, ours: impl FnOnce() -> Option<SocketAddr>) -> Option<Addresses> {
    match origin.shown().and_then(|shown| shown.proxied.as_ref()) {
        Some(header) => header.addresses,
        None => Some(Addresses { source: origin.peer(), destination: ours()? }),
    }
}

/// The client's TLS with us.
fn tls<'a>(origin: &'a Origin, alpn: Option<&'a [u8]>) -> Option<ToldTls<'a>> {
    let version = origin.tls()?.split(' ').next()?;
    let shown = origin.shown()?;
    let certificate = shown.certificate.as_ref();
    let cn = match certificate.map(|names| names.of(Field::Cn)) {
        Some([cn]) => Some(&**cn),
        // Who could be two is nobody.
        Some(_) | None => None,
    };
    Some(ToldTls {
        version,
        authority: shown.sni.as_deref(),
        alpn,
        verified: certificate.is_some(),
        cn,
    })
}

impl Wanted {
    async fn find(self) -> Result<Placed, Unplaced> {
        let Wanted { listener, key, owner, first } = self;
        let (pool, with) = (&listener.pool, &listener.with);
        let (mut tried, mut queue) = (Tried::new(), Duration::ZERO);
        loop {
            let since = time::now();
            let picked = pool.pick(key.clone(), owner.clone(), &tried).await;
            queue += since.elapsed();
            let picked = match picked {
                Ok(picked) => picked,
                Err(refusal) if tried.is_empty() => return Err(Unplaced::Refused(refusal.reason)),
                Err(_) => return Err(Unplaced::Unreachable(tried.len() as u32)),
            };
            let linked = Linked::to(Arc::clone(&picked.member));
            let since = time::now();
            let error = match reach(&linked, with, &first).await {
                Ok(socket) => {
                    let way =
                        Way { links: tried.len() as u32 + 1, queue, connect: since.elapsed() };
                    return Ok(Placed { picked, linked, socket, way });
                }
                Err(error) => error,
            };
            let (upstream, listener) = (&linked.name, &listener.edge);
            tracing::debug!(listener = listener.name, upstream, %error, "cannot connect");
            linked.metrics.lost.inc("connect");
            linked.hint(Seen::LinkFailed);
            tried.push(linked.id);
            if tried.len() > with.connect_retries as usize {
                return Err(Unplaced::Unreachable(tried.len() as u32));
            }
            listener.metrics.connect_retries.inc();
        }
    }
}

async fn reach(member: &Member, with: &Settings, first: &[u8]) -> io::Result<Io> {
    let address = member.address().ok_or(io::ErrorKind::NotConnected)?;
    dial(address, member.way(), with.connect_timeout, with.watchfulness, first).await
}
