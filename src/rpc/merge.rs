//! What to ask of a fleet, and how several CLIs' answers become the one that a client expects: text in, text out.
//!
//! Never asks anybody, and never rewrites a session's record: what a CLI said of it goes on byte for byte.
//! With one CLI whose sessions the caller may all see, the answer is that CLI's own.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::rpc::methods::{failed, invalid};

mod every;
mod lists;
mod pairs;
mod scatter;
mod single;

pub use every::{Made, agree};
pub use scatter::{Part, Split};

/// Answers that are joined over all CLIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// `session.list`, `sessions.list`: records, newest first.
    Sessions,
    /// `sessions.listNonEmptySessionIds`: ids, newest first, a few.
    NonEmptyIds,
    /// `sessions.getSizes`: bytes by id.
    Sizes,
    /// `sessions.getRemoteControlStatus`: each CLI has one.
    RemoteControl,
}

/// Answers that name one session, picked from those that the caller may see.
///
/// The CLI's own answer cannot be used: it picks among everybody's sessions, and then hides or tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Single {
    /// `session.getLastId`.
    LastId,
    /// `sessions.getLastForContext`.
    LastForContext,
    /// `sessions.findByPrefix`.
    ByPrefix,
    /// `sessions.findByTaskId`.
    ByTaskId,
}

/// Requests that name several sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scatter {
    /// `sessions.getClientMetadata`: an array, one element per id, in the client's order.
    ClientMetadata,
    /// `sessions.checkInUse`: those ids that another process holds.
    InUse,
    /// `sessions.enrichMetadata`: the records that were sent, with more in them.
    Enrich,
    /// `sessions.bulkDelete`: freed bytes by id.
    BulkDelete,
}

/// A request that fairlead makes of its own, in order to answer one of a client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The method.
    pub method: &'static str,
    /// The JSON text of its params.
    pub params: String,
}

impl Ask {
    fn new(method: &'static str, params: impl Into<String>) -> Self {
        Ask { method, params: params.into() }
    }

    fn list() -> Self {
        Ask::new("session.list", NOTHING)
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The client's params: the sentence that a CLI would answer with.
    Params(String),
    /// The client names more sessions than this many.
    TooMany(usize),
    /// A CLI's answer is not what the method gives; its place among those handed in.
    /// Leave that CLI out and join again, as if it had not answered.
    Answer(usize),
}

impl Wrong {
    /// The JSON text of the `error` member, where the client is to blame; none for a CLI's fault.
    pub fn to_error(&self, method: &str) -> Option<String> {
        match self {
            Wrong::Params(why) => Some(failed(method, why)),
            Wrong::TooMany(most) => {
                Some(invalid(&format!("{method} takes at most {most} sessions at once")))
            }
            Wrong::Answer(_) => None,
        }
    }
}

/// Whether the caller may see the session of that id.
pub type Sees<'a> = &'a dyn Fn(&str) -> bool;

/// What one CLI said: the text of one `result` per [`Ask`], in their order.
pub type Said<'a> = &'a [&'a str];

/// `{}`: no params, and how a CLI says that it found nothing.
const NOTHING: &str = "{}";

/// What is read of a record of `session.list`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(borrow)]
    session_id: Cow<'a, str>,
    /// ISO 8601 in UTC, to the millisecond: order of text is order in time.
    #[serde(borrow, default)]
    modified_time: Cow<'a, str>,
    mc_task_id: Option<String>,
    context: Option<Context>,
}

/// The working directory of a session, or the one that a client asks for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    cwd: Option<String>,
    git_root: Option<String>,
    repository: Option<String>,
    branch: Option<String>,
}

/// A session as `session.list` gives it: what is read of it, and all of it.
struct Record<'a> {
    head: Head<'a>,
    raw: &'a RawValue,
}

/// The records of one CLI, in its order.
fn records(answer: &str) -> Option<Vec<Record<'_>>> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        sessions: Vec<&'a RawValue>,
    }
    fn read(raw: &RawValue) -> Option<Record<'_>> {
        Some(Record { head: serde_json::from_str(raw.get()).ok()?, raw })
    }
    let answer: Answer<'_> = serde_json::from_str(answer).ok()?;
    answer.sessions.into_iter().map(read).collect()
}

/// One text of each CLI, read; the first that cannot be read is named.
fn read_all<'a, T>(
    said: &[Said<'a>],
    ask: usize,
    read: impl Fn(&'a str) -> Option<T>,
) -> Result<Vec<T>, Wrong> {
    let one = |(place, texts): (usize, &Said<'a>)| {
        texts.get(ask).copied().and_then(&read).ok_or(Wrong::Answer(place))
    };
    said.iter().enumerate().map(one).collect()
}

/// One member of the params; none if it is absent or there are no params.
fn param<T: DeserializeOwned>(params: Option<&str>, name: &str) -> Option<T> {
    let pairs = serde_json::from_str::<pairs::Pairs<'_>>(params?).ok()?;
    serde_json::from_str(pairs.get(name)?.get()).ok()
}

/// `["a","b"]` of JSON texts.
fn array<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::from("[");
    for (place, item) in items.enumerate() {
        if place > 0 {
            out.push(',');
        }
        out.push_str(item);
    }
    out.push(']');
    out
}

#[cfg(test)]
mod tests;
