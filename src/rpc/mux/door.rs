//! The door: nothing but `connect` is answered before the client has proven who it is, where it must. Who proves what,
//! the shell knows; here it is only waited for.

use std::sync::Arc;

use super::greeting::greets;
use super::reply::Code;
use super::{
    Action, Authentication, Denied, End, Mux, Now, Oddity, Outcome, Settings, Token, Verdict,
    Waiting,
};
use crate::error::Refusal;
use crate::id::RawId;
use crate::rate::Share;
use crate::rpc::frame::FrameLimits;
use crate::rpc::methods::{self, Method, Route};
use crate::time::{Duration, Instant};

/// The largest frame of a stranger, in bytes.
const STRANGERS_FRAME: usize = 64 * 1024;

/// The largest header block of a stranger, in bytes.
const STRANGERS_HEADER: usize = 16 * 1024;

/// How many frames of a stranger are read, before the conn ends.
const STRANGERS_FRAMES: u8 = 32;

/// How many bytes of a stranger are read, before the conn ends.
const STRANGERS_BYTES: usize = 256 * 1024;

/// What a client may send at first.
pub(super) fn client_frame(settings: &Settings) -> FrameLimits {
    match settings.authentication {
        Authentication::Required => strangers(settings.client_frame),
        Authentication::NotConfigured | Authentication::Optional => settings.client_frame,
    }
}

fn strangers(friends: FrameLimits) -> FrameLimits {
    FrameLimits {
        header: friends.header.min(STRANGERS_HEADER),
        body: friends.body.min(STRANGERS_FRAME),
    }
}

/// How far a client that must prove who it is has come.
#[derive(Debug, Default)]
pub(super) struct Stranger {
    /// Since when it is waited for.
    since: Option<Instant>,
    frames: u8,
    bytes: usize,
    /// Why whatever it asks is refused, unless it proves to be somebody else.
    turned_away: Option<Refusal>,
}

impl Mux {
    /// The client was proven to be somebody by other means than a token.
    pub fn admit(&mut self) {
        self.stranger = None;
        self.decoder.set_limits(self.settings.client_frame);
    }

    /// Whoever the client is by what is known of it, it is one too many: the first thing that it asks is refused, and the
    /// conn ends, unless that is a `connect` that proves it to be somebody else.
    pub fn turn_away(&mut self, refusal: Refusal) {
        let stranger = Stranger { turned_away: Some(refusal), ..Stranger::default() };
        self.stranger = Some(Box::new(stranger));
        self.decoder.set_limits(strangers(self.settings.client_frame));
    }

    /// Counts bytes of a stranger. The conn ends if they are too many.
    pub(super) fn strangers_bytes(&mut self, bytes: usize, now: Now) {
        let Some(stranger) = &mut self.stranger else { return };
        stranger.bytes = stranger.bytes.saturating_add(bytes);
        if stranger.bytes > STRANGERS_BYTES {
            self.give_up("unauthenticated", now);
        }
    }

    /// Counts a frame of a stranger. Whether the conn ends, because they are too many.
    pub(super) fn strangers_frame(&mut self, now: Now) -> bool {
        let Some(stranger) = &mut self.stranger else { return false };
        stranger.frames = stranger.frames.saturating_add(1);
        let too_many = stranger.frames > STRANGERS_FRAMES;
        if too_many {
            self.give_up("unauthenticated", now);
        }
        too_many
    }

    /// Says no to a request of a stranger. Whether it was one.
    pub(super) fn refuse_stranger(&mut self, id: &str, method: &str) -> bool {
        let Some(stranger) = &self.stranger else { return false };
        if greets(method) && self.takes_tokens() {
            return false;
        }
        if let Some(refusal) = &stranger.turned_away {
            let refusal = refusal.clone();
            self.refuse_untaken(id, methods::method(method), &refusal);
            self.end = Some(End::Protocol("too_many_conns"));
            return true;
        }
        self.odd(Oddity::Unauthenticated);
        self.actions.push_back(Action::Denied(methods::method(method), None, Denied::Stranger));
        self.write_invalid(id, Code::AuthenticationRequired, "AUTHENTICATION_REQUIRED");
        let answered = Action::Answered(methods::method(method), Outcome::Invalid, Duration::ZERO);
        self.actions.push_back(answered);
        true
    }

    /// Asks whether the client is who it says.
    pub(super) fn authenticate(&mut self, id: &RawId, token: Option<Token>, fields: Box<str>) {
        let ticket = self.ticket(Waiting::Authenticate(id.clone(), fields));
        self.wait_for(id, ticket);
        self.actions.push_back(Action::Authenticate(ticket, token));
    }

    /// Whether the token of a `connect` says who the client is.
    pub(super) fn takes_tokens(&self) -> bool {
        self.settings.authentication != Authentication::NotConfigured
    }

    /// The answer to [`Action::Authenticate`].
    pub fn authenticated(&mut self, ticket: super::Ticket, verdict: Verdict, now: Instant) {
        let Some(Waiting::Authenticate(id, fields)) = self.waiting.remove(&ticket) else { return };
        match verdict {
            Verdict::Good => {
                self.admit();
                self.greet(&id, fields);
            }
            Verdict::Bad => {
                self.odd(Oddity::Unauthenticated);
                self.invalid(&id, Code::AuthenticationFailed, "AUTHENTICATION_FAILED", now);
            }
            Verdict::TooOften(wait) => {
                self.odd(Oddity::RateLimited);
                self.refuse(&id, &Refusal::too_often(wait), now);
            }
            Verdict::TooMany(refusal) => {
                self.refuse(&id, &refusal, now);
                self.end = Some(End::Protocol("too_many_conns"));
            }
        }
    }

    /// The client may ask as often as this says, from now on.
    pub fn set_share(&mut self, share: Option<Arc<Share>>) {
        self.share = share;
    }

    /// Takes a request off the client's share. Fails if it asks too often: with how long it has to wait.
    pub fn charge(&self, now: Instant) -> Result<(), Duration> {
        self.share.as_ref().map_or(Ok(()), |share| share.take(now))
    }

    /// Says no to a request that comes too soon. Whether it does. Nothing else has seen it yet.
    pub(super) fn refuse_hasty(
        &mut self,
        id: &str,
        method: Option<&'static Method>,
        now: Instant,
    ) -> bool {
        if self.share.is_none() {
            return false;
        }
        // An answer to a CLI, which waits for it; and who calls a `connect` may tell: [`Action::Authenticate`].
        let free = |m: &Method| {
            m.answers().is_some() || m.route() == Route::Connect && self.takes_tokens()
        };
        if method.is_some_and(free) {
            return false;
        }
        let Err(wait) = self.charge(now) else { return false };
        let refusal = Refusal::too_often(wait);
        self.odd(Oddity::RateLimited);
        self.refuse_untaken(id, method, &refusal);
        true
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
