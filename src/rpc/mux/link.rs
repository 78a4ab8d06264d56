//! A link as the mux sees it: what it waits for, what waits for it.

use super::{Action, Mux, Now};
use crate::id::{LinkId, UpstreamId};
use crate::rpc::frame::Decoder;
use crate::rpc::out::Outgoing;
use crate::time::Instant;

/// How far a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkPhase {
    /// The connection is being made.
    Opening,
    /// Our `connect` is under way; nothing else may be.
    Greeting,
    /// The client's frames flow.
    Ready,
}

pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) upstream: UpstreamId,
    pub(super) phase: LinkPhase,
    pub(super) since: Instant,
    pub(super) ready_at: Option<Instant>,
    pub(super) decoder: Decoder,
    /// What may be written.
    pub(super) out: Outgoing,
    /// What waits for the greeting.
    pub(super) held: Outgoing,
}

impl Link {
    pub(super) fn buffered(&self) -> usize {
        self.out.len() + self.held.len() + self.decoder.buffered()
    }

    /// Where the client's frames go now.
    pub(super) fn queue(&mut self) -> &mut Outgoing {
        if self.phase == LinkPhase::Ready { &mut self.out } else { &mut self.held }
    }
}

impl Mux {
    #[inline]
    pub(super) fn link(&self, id: LinkId) -> Option<&Link> {
        self.links.iter().find(|l| l.id == id)
    }

    #[inline]
    pub(super) fn link_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.iter_mut().find(|l| l.id == id)
    }

    /// The conn's link to `upstream`; a new one is asked for where there is none.
    pub(super) fn link_to(&mut self, upstream: UpstreamId, now: Instant) -> LinkId {
        if let Some(link) = self.links.iter().find(|l| l.upstream == upstream) {
            return link.id;
        }
        let id = LinkId(self.next_link);
        self.next_link += 1;
        // Most conns have one, and keep it.
        self.links.reserve_exact(1);
        self.links.push(Link {
            id,
            upstream,
            phase: LinkPhase::Opening,
            since: now,
            ready_at: None,
            decoder: Decoder::new(self.settings.upstream_frame),
            out: Outgoing::default(),
            held: Outgoing::default(),
        });
        self.actions.push_back(Action::Open(id, upstream));
        id
    }

    /// The CLI's address of a link; for the shell's own books.
    pub fn upstream_of(&self, link: LinkId) -> Option<UpstreamId> {
        self.link(link).map(|l| l.upstream)
    }

    pub(super) fn expire_links(&mut self, now: Now) {
        let limit = self.settings.handshake_timeout;
        let late: Vec<LinkId> = self
            .links
            .iter()
            .filter(|l| l.phase != LinkPhase::Ready && now.at >= l.since + limit)
            .map(|l| l.id)
            .collect();
        for link in late {
            self.link_lost(link, now);
        }
    }
}
