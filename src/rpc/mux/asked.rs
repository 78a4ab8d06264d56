//! What CLIs wait for: requests that they sent to the client, under ids of our own.
//!
//! Every CLI counts its requests from 1, so theirs collide; the client sees integers that are unique on its conn.

use super::{Mux, Oddity};
use crate::id::{LinkId, RawId};
use crate::rpc::json::Span;
use crate::rpc::message;
use crate::rpc::methods::{self, Shape};
use crate::rpc::out::Edit;
use crate::time::Instant;

pub(super) struct Asked {
    pub(super) link: LinkId,
    /// The id as the CLI wrote it.
    pub(super) id: RawId,
    /// When we answer in the client's place.
    pub(super) deadline: Option<Instant>,
}

impl Mux {
    /// A CLI asks the client for something: it is passed on under an id of ours.
    pub(super) fn ask_client(
        &mut self,
        link: LinkId,
        body: &[u8],
        id: Span,
        method: &str,
        now: Instant,
    ) {
        let Ok(raw) = std::str::from_utf8(id.of(body)) else { return };
        let held_up = methods::outgoing(method).is_some_and(|m| m.shape == Shape::Bounded);
        let deadline = held_up.then(|| now + self.settings.client_request_timeout);
        let ours = self.next_asked;
        self.next_asked += 1;
        self.asked.insert(ours, Asked { link, id: RawId::new(raw), deadline });
        let mut digits = itoa::Buffer::new();
        let text = digits.format(ours).as_bytes();
        self.client.edited(body, &[Edit { span: id, text }]);
    }

    /// The client's answer goes to the CLI that asked, under the CLI's own id.
    pub(super) fn client_response(&mut self, body: &[u8], id: Span, now: super::Now) {
        let ours = std::str::from_utf8(id.of(body)).ok().and_then(|raw| raw.parse::<u64>().ok());
        let Some(asked) = ours.and_then(|id| self.asked.remove(&id)) else {
            return self.odd(Oddity::UnknownReply);
        };
        let edit = Edit { span: id, text: asked.id.as_bytes() };
        let limit = self.settings.link_queue;
        let Some(link) = self.link_mut(asked.link) else { return };
        if link.queue().fits(body.len(), limit) {
            link.queue().edited(body, &[edit]);
        } else {
            self.link_lost(asked.link, now);
        }
    }

    /// Whether a refused frame with this id is an answer, perhaps a broken one, and no request.
    pub(super) fn answers_asked(&self, id: &str, body: &[u8]) -> bool {
        let asked = id.parse().is_ok_and(|id: u64| self.asked.contains_key(&id));
        message::is_answer(body) || asked && !message::is_call(body)
    }

    /// The client's answer cannot be passed on: the CLI hears that there is none.
    pub(super) fn answer_refused(&mut self, id: &str) {
        let asked = id.parse().ok().and_then(|id: u64| self.asked.remove(&id));
        match asked {
            Some(asked) => self.answer_for_client(&asked, "the client's answer cannot be read"),
            None => self.odd(Oddity::UnknownReply),
        }
    }

    fn answer_for_client(&mut self, asked: &Asked, message: &str) {
        let Some(link) = self.link_mut(asked.link) else { return };
        link.queue().parts(&[
            br#"{"jsonrpc":"2.0","id":"#,
            asked.id.as_bytes(),
            br#","error":{"code":-32603,"message":""#,
            message.as_bytes(),
            br#""}}"#,
        ]);
    }

    /// Answers for clients that hold up a turn and say nothing.
    pub(super) fn expire_asked(&mut self, now: Instant) {
        let mut late: Vec<u64> = self
            .asked
            .iter()
            .filter(|(_, asked)| asked.deadline.is_some_and(|at| now >= at))
            .map(|(id, _)| *id)
            .collect();
        late.sort_unstable();
        for id in late {
            let Some(asked) = self.asked.remove(&id) else { continue };
            self.answer_for_client(&asked, "the client did not answer in time");
        }
    }
}
