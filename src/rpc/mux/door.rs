//! The door: nothing but `connect` is answered before the client has proven who it is, where it must. Who proves what,
//! the shell knows; here it is only waited for.

use super::greeting::greets;
use super::reply::Code;
use super::{Action, Authentication, Mux, Now, Oddity, Settings, Token, Waiting};
use crate::id::RawId;
use crate::rpc::frame::FrameLimits;
use crate::time::Instant;

/// The largest frame of a stranger, in bytes.
const STRANGERS_FRAME: usize = 64 * 1024;

/// How many requests of a stranger are answered, before the conn ends.
const STRANGERS_REQUESTS: u8 = 32;

/// What a client may send at first.
pub(super) fn client_frame(settings: &Settings) -> FrameLimits {
    let FrameLimits { header, body } = settings.client_frame;
    match settings.authentication {
        Authentication::Required => FrameLimits { header, body: body.min(STRANGERS_FRAME) },
        Authentication::NotConfigured | Authentication::Optional => settings.client_frame,
    }
}

/// How far a client that must prove who it is has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stranger {
    /// Since when it is waited for.
    since: Option<Instant>,
    requests: u8,
}

impl Mux {
    /// The client was proven to be somebody by other means than a token.
    pub fn admit(&mut self) {
        self.stranger = None;
        self.decoder.set_limits(self.settings.client_frame);
    }

    /// Says no to a request of a stranger. Whether it was one.
    pub(super) fn refuse_stranger(&mut self, id: &str, method: &str, now: Now) -> bool {
        let Some(stranger) = &mut self.stranger else { return false };
        stranger.requests = stranger.requests.saturating_add(1);
        if stranger.requests > STRANGERS_REQUESTS {
            self.give_up("unauthenticated", now);
            return true;
        }
        if greets(method) {
            return false;
        }
        self.odd(Oddity::Unauthenticated);
        self.write_invalid(id, Code::AuthenticationRequired, "AUTHENTICATION_REQUIRED");
        true
    }

    /// Asks whether the client is who it says.
    pub(super) fn authenticate(&mut self, id: &RawId, token: Option<Token>, fields: Box<str>) {
        let ticket = self.ticket(Waiting::Authenticate(id.clone(), fields));
        self.wait_for(id, ticket);
        self.actions.push_back(Action::Authenticate(ticket, token));
    }

    /// The answer to [`Action::Authenticate`].
    pub fn authenticated(&mut self, ticket: super::Ticket, good: bool, now: Instant) {
        let Some(Waiting::Authenticate(id, fields)) = self.waiting.remove(&ticket) else { return };
        if good {
            self.admit();
            return self.greet(&id, fields);
        }
        self.odd(Oddity::Unauthenticated);
        self.invalid(&id, Code::AuthenticationFailed, "AUTHENTICATION_FAILED", now);
    }

    /// Who is not known after a while has to come again.
    pub(super) fn expire_stranger(&mut self, now: Now) {
        let limit = self.settings.authentication_timeout;
        let Some(stranger) = &mut self.stranger else { return };
        if now.at >= *stranger.since.get_or_insert(now.at) + limit {
            self.give_up("unauthenticated", now);
        }
    }
}
