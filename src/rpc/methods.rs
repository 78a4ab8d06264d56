//! What fairlead does with each method: a closed table, by name, of everything a CLI serves.
//!
//! Has no prefix rule and no default arm: a method that is not in here does not exist for a client.
//! `tests/schema.rs` compares it both ways with the schema that the CLI installs. What the schema does not
//! say (turns, time, what works on disk, answers for unknown ids) was tried on a CLI 1.0.102.

use std::fmt::Write as _;
use std::sync::LazyLock;

use ahash::AHashMap;

use crate::error::push_json_string;
use crate::rpc::merge::{Merge, Scatter, Single};

mod events;
mod fleet;
mod outgoing;
mod session;

pub use events::{EVENTS, Event, event};
pub use outgoing::{OUTGOING, Outgoing, Shape, Where, outgoing};

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The handshake: answered by fairlead.
    Connect,
    /// Answered by fairlead (`pong`, or `pong: MESSAGE` where there is one).
    Ping,
    /// `session.create`: placement, with or without an id.
    Create,
    /// `session.resume`: placement, or the CLI that has the session.
    Resume,
    /// To the CLI that has the session named by `params.sessionId`, always under that name.
    Session,
    /// As `Session`; the result's `sessionId` is a new session on the same CLI's disk.
    Fork,
    /// To one CLI, the same for a conn: the answer does not depend on sessions.
    AnyOne(Tells),
    /// To every CLI that is up, where the policy allows it: it changes the CLI for everybody.
    EveryOne,
    /// All CLIs are asked and their answers joined.
    Merge(Merge),
    /// One answer, made over the sessions that the caller may see.
    Single(Single),
    /// The session ids in it are split by owner, the answers joined in the client's order.
    Scatter(Scatter),
    /// This `result`, whatever the params.
    Local(&'static str),
    /// Refused, whatever the policy.
    Deny(Never),
}

/// Of what the answer to a read of the whole server tells, beside what is the same for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    /// Of nothing: what the program itself can do.
    Nothing,
    /// Of the account that the CLI is logged in with: names, quota, credentials.
    Account,
    /// Of the CLI's host: its paths and files, also those that the caller asks for.
    Host,
    /// Of what the operator and other callers configured: settings, servers, plugins, with what is secret in them.
    Settings,
}

/// Why no policy can allow a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {
    /// The CLI ends.
    Ends,
    /// A process is started.
    Starts,
    /// One client gets everybody's prompts, keys or files, or puts its programs in their place.
    TakesOver,
    /// The session that comes back is attached to no connection.
    AttachesNothing,
    /// Sessions are deleted, whoever owns them.
    DeletesAll,
    /// A CLI has one remote control for all its sessions.
    RemoteControl,
}

impl Never {
    /// The rest of a sentence that begins with the method's name.
    pub const fn why(self) -> &'static str {
        match self {
            Never::Ends => "ends the CLI for everybody",
            Never::Starts => "starts a process on the CLI's host",
            Never::TakesOver => "puts one client in charge of what all sessions of the CLI do",
            Never::AttachesNothing => "gives back a session that no connection is attached to",
            Never::DeletesAll => "deletes sessions whoever owns them: delete them by their ids",
            Never::RemoteControl => {
                "moves the CLI's one remote control away from whatever session has it"
            }
        }
    }
}

/// Whether a request makes its session busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It starts no turn.
    No,
    /// It may, soon or later: the session is busy until the answer, and after that as its events say.
    May,
    /// It does: the session is busy until its `session.idle`, or until this request's error.
    Starts,
    /// As `Starts`, but with `params.mode` = `immediate` it steers a turn that runs.
    Steers,
}

/// What an acknowledged success does to the session (an error, or `"success":false`, does nothing).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The conn is no longer attached; the session is stored if it was the last.
    Detach,
    /// The session is stored, for everybody.
    Store,
    /// The session is gone, from disk too.
    Delete,
    /// The session's end is written, for everybody. It stays in memory, acknowledges sends that it never runs, and
    /// refuses to be resumed ("Session event stream is closed") until `sessions.close` or its last conn's detach:
    /// close it, and treat it as stored.
    Halt,
}

/// What may pass while fairlead drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draining {
    /// Always.
    Passes,
    /// Only on a session whose turn runs.
    InTurn,
    /// Only in a running turn, and only with `params.mode` = `immediate`.
    Steering,
    /// Never.
    Refused,
}

/// What a CLI answers to a requestId that it does not know; a foreign one must get the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// This `result`.
    Result(&'static str),
    /// An error -32603 that names the requestId.
    NoPermission,
}

/// How a CLI words a missing `params.sessionId`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wording {
    InRequest,
    Parameter,
    Undefined,
}

/// All that is known of a method besides its name.
#[derive(Clone, Copy, Debug)]
struct Traits {
    route: Route,
    turn: Turn,
    end: Option<End>,
    answers: Option<Unknown>,
    second_id: Option<&'static str>,
    long: bool,
    on_disk: bool,
    wording: Wording,
}

/// Methods that share their traits: the unit in which the table is written and read.
struct Group {
    traits: Traits,
    names: &'static [&'static str],
}

const fn to(route: Route) -> Traits {
    Traits {
        route,
        turn: Turn::No,
        end: None,
        answers: None,
        second_id: None,
        long: false,
        on_disk: false,
        wording: Wording::Undefined,
    }
}

impl Traits {
    const fn turn(self, turn: Turn) -> Self {
        Traits { turn, ..self }
    }
    const fn end(self, end: End) -> Self {
        Traits { end: Some(end), ..self }
    }
    const fn answers(self, unknown: Unknown) -> Self {
        Traits { answers: Some(unknown), ..self }
    }
    const fn second_id(self, param: &'static str) -> Self {
        Traits { second_id: Some(param), ..self }
    }
    const fn long(self) -> Self {
        Traits { long: true, ..self }
    }
    const fn on_disk(self) -> Self {
        Traits { on_disk: true, ..self }
    }
    const fn worded(self, wording: Wording) -> Self {
        Traits { wording, ..self }
    }
    const fn of(self, names: &'static [&'static str]) -> Group {
        Group { traits: self, names }
    }
}

/// A method that clients call. There is one of each, for ever: keep the reference.
#[derive(Debug)]
pub struct Method {
    /// The name on the wire.
    pub name: &'static str,
    /// Its place in [`methods`]: dense, for arrays of metric handles. Not stable between builds.
    pub index: u16,
    traits: Traits,
}

impl Method {
    /// Where it goes.
    pub fn route(&self) -> Route {
        self.traits.route
    }

    /// Whether it makes its session busy.
    pub fn turn(&self) -> Turn {
        self.traits.turn
    }

    /// What its acknowledged success does to the session.
    pub fn end(&self) -> Option<End> {
        self.traits.end
    }

    /// Set if `params.requestId` names something that a session asked in an [`Event::Asks`].
    /// Only that session's callers may answer; a foreign requestId gets what is said here, and is not forwarded.
    pub fn answers(&self) -> Option<Unknown> {
        self.traits.answers
    }

    /// The param that names a second session, which must be the caller's and on the same CLI.
    pub fn second_id(&self) -> Option<&'static str> {
        self.traits.second_id
    }

    /// Its answer may take as long as a model, a tool or a person does: bounded by the CLI's health alone.
    pub fn is_long(&self) -> bool {
        self.traits.long
    }

    /// The CLI answers it, without "Session not found", for a session that it does not have in memory.
    pub fn is_on_disk(&self) -> bool {
        self.traits.on_disk
    }

    /// Whether it names a session by `params.sessionId`.
    pub fn is_of_session(&self) -> bool {
        match self.traits.route {
            Route::Resume | Route::Session | Route::Fork => true,
            Route::Connect
            | Route::Ping
            | Route::Create
            | Route::AnyOne(_)
            | Route::EveryOne
            | Route::Merge(_)
            | Route::Single(_)
            | Route::Scatter(_)
            | Route::Local(_)
            | Route::Deny(_) => false,
        }
    }

    /// What becomes of it while fairlead drains.
    pub fn draining(&self) -> Draining {
        match (self.traits.route, self.traits.turn) {
            (Route::Create | Route::Resume | Route::Fork, _) | (_, Turn::Starts) => {
                Draining::Refused
            }
            (_, Turn::Steers) => Draining::Steering,
            (_, Turn::May) => Draining::InTurn,
            (_, Turn::No) => Draining::Passes,
        }
    }

    /// The JSON text of the `error` member that a CLI gives where `params.sessionId` is absent or no string.
    pub fn missing_session(&self) -> String {
        let why = match self.traits.wording {
            Wording::InRequest => format!("Missing sessionId in {} request", self.name),
            Wording::Parameter => "Missing sessionId parameter".to_owned(),
            Wording::Undefined => "Invalid sessionId: undefined".to_owned(),
        };
        failed(self.name, &why)
    }
}

impl Unknown {
    /// The answer's last member, `"result":...` or `"error":...`, as JSON text.
    pub fn to_member(self, method: &Method, request_id: &str) -> String {
        match self {
            Unknown::Result(result) => format!(r#""result":{result}"#),
            Unknown::NoPermission => {
                let why = format!("pending permission request '{request_id}' was not found");
                format!(r#""error":{}"#, failed(method.name, &why))
            }
        }
    }
}

/// The JSON text of the `error` member with which a CLI refuses params (-32603).
pub fn failed(method: &str, why: &str) -> String {
    coded(-32603, &format!("Request {method} failed with message: {why}"))
}

/// The JSON text of the `error` member for params that cannot be served (-32602).
pub fn invalid(why: &str) -> String {
    coded(-32602, why)
}

fn coded(code: i32, message: &str) -> String {
    let mut out = String::with_capacity(message.len() + 32);
    let _ = write!(out, r#"{{"code":{code},"message":"#);
    push_json_string(&mut out, message);
    out.push('}');
    out
}

static METHODS: LazyLock<Box<[Method]>> = LazyLock::new(|| {
    let rows = session::GROUPS.iter().chain(fleet::GROUPS);
    let named = rows.flat_map(|group| group.names.iter().map(|name| (*name, group.traits)));
    (0..).zip(named).map(|(index, (name, traits))| Method { name, index, traits }).collect()
});

static BY_NAME: LazyLock<AHashMap<&'static str, &'static Method>> =
    LazyLock::new(|| methods().iter().map(|method| (method.name, method)).collect());

/// Every method that clients call, in order of [`Method::index`].
pub fn methods() -> &'static [Method] {
    &METHODS
}

/// The method of that name, exactly.
pub fn method(name: &str) -> Option<&'static Method> {
    BY_NAME.get(name).copied()
}

#[cfg(test)]
mod tests;
