//! What fairlead asks of a CLI for itself: a request over the CLI's `watch`.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::rpc::json;
use crate::rpc::message;

/// Questions that may lie ready for one CLI; more wait until these are taken, each for as long as it may.
pub const MAX_ASKS: usize = 1024;

/// One question, on its way to the `watch`.
#[derive(Debug)]
pub struct Ask {
    /// The method.
    pub method: &'static str,
    /// The JSON text of its params.
    pub params: String,
    /// Where the CLI's frame goes: a response, as it came.
    pub reply: oneshot::Sender<Bytes>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The CLI has no `watch` connection now, or lost it.
    Gone,
    /// The time is up.
    Late,
}

/// A CLI's answer.
#[derive(Clone, Debug)]
pub struct Reply(Bytes);

impl Reply {
    /// The JSON text of the result; `None` where it is an error.
    pub fn result(&self) -> Option<&str> {
        let span = json::member(&self.0, message::whole(&self.0), "result")?;
        std::str::from_utf8(span.of(&self.0)).ok()
    }

    /// `error.message`; `None` where it is a result.
    pub fn error(&self) -> Option<String> {
        message::text_in(&self.0, 0, &["error", "message"]).map(Into::into)
    }
}

/// The way to one CLI's `watch`.
#[derive(Clone, Debug)]
pub struct Asker(mpsc::Sender<Ask>);

impl Asker {
    /// The way, and where it ends.
    pub fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (send, receive) = mpsc::channel(MAX_ASKS);
        (Asker(send), receive)
    }

    /// Asks, and waits for at most `limit`.
    pub async fn ask(
        &self,
        method: &'static str,
        params: String,
        limit: Duration,
    ) -> Result<Reply, NoAnswer> {
        let asking = self.ask_until_gone(method, params);
        tokio::time::timeout(limit, asking).await.unwrap_or(Err(NoAnswer::Late))
    }

    /// Asks, and waits until there is an answer, or never will be one: the CLI may do what it was asked as long as it lives.
    pub async fn ask_until_gone(
        &self,
        method: &'static str,
        params: String,
    ) -> Result<Reply, NoAnswer> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask { method, params, reply }).await.map_err(|_| NoAnswer::Gone)?;
        answer.await.map(Reply).map_err(|_| NoAnswer::Gone)
    }
}
