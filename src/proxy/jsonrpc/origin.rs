//! Where a conn comes from, and what it came in with. Small where it came in with nothing.

use std::net::SocketAddr;

use crate::identity::Shown;
use crate::proxy::admit::{Keys, Proven};

/// See the module's head.
pub(super) enum Origin {
    /// Straight from the socket.
    Direct(SocketAddr),
    /// Through the listener's door.
    Door(Box<Arrival>),
}

/// What a client came in with.
pub(super) struct Arrival {
    peer: SocketAddr,
    /// Version and cipher.
    tls: Option<String>,
    shown: Shown,
    /// Whom that proved.
    proven: Option<Proven>,
}

impl Origin {
    pub(super) fn door(peer: SocketAddr, tls: Option<String>, shown: Shown, keys: &Keys) -> Self {
        let proven = keys.proven(&shown);
        Origin::Door(Box::new(Arrival { peer, tls, shown, proven }))
    }

    pub(super) fn peer(&self) -> SocketAddr {
        match self {
            Origin::Direct(peer) => *peer,
            Origin::Door(arrival) => arrival.peer,
        }
    }

    pub(super) fn tls(&self) -> Option<&str> {
        self.arrival()?.tls.as_deref()
    }

    pub(super) fn shown(&self) -> Option<&Shown> {
        self.arrival().map(|arrival| &arrival.shown)
    }

    pub(super) fn proven(&self) -> Option<&Proven> {
        self.arrival()?.proven.as_ref()
    }

    fn arrival(&self) -> Option<&Arrival> {
        match self {
            Origin::Direct(_) => None,
            Origin::Door(arrival) => Some(arrival),
        }
    }
}
