//! Where a conn comes from, and what it came in with. Small where it came in with nothing.

use std::net::{IpAddr, SocketAddr};

use crate::identity::Shown;

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
}

impl Origin {
    pub(super) fn door(peer: SocketAddr, tls: Option<String>, shown: Shown) -> Self {
        Origin::Door(Box::new(Arrival { peer, tls, shown }))
    }

    /// Where the client is, as far as is known.
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

    /// Where the client is for sure; `None`: a proxy stands between, and does not say.
    pub(super) fn address(&self) -> Option<IpAddr> {
        let proxied = self.shown().and_then(|shown| shown.proxied.as_ref());
        match proxied {
            Some(header) => header.addresses.map(|addresses| addresses.source.ip()),
            None => Some(self.peer().ip()),
        }
    }

    fn arrival(&self) -> Option<&Arrival> {
        match self {
            Origin::Direct(_) => None,
            Origin::Door(arrival) => Some(arrival),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_no_larger_than_an_address() {
        assert_eq!(size_of::<Origin>(), size_of::<SocketAddr>());
    }
}
