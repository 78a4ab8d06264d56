//! What a CLI sends to clients of its own accord: requests that want an answer, and notifications.
//!
//! Permissions and client tools are not in here: they are events, answered by methods.

/// Where a server message names its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// `params.sessionId`, always there.
    SessionId,
    /// `params.sessionId`, where it concerns one session.
    MaybeSessionId,
    /// `params.scope.sessionId`.
    Scope,
    /// Nowhere: `params.requestId` is that of an `llmInference.httpRequestStart`.
    RequestId,
    /// Nowhere.
    Nowhere,
}

/// Whether the CLI waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// It waits, for ever.
    Request,
    /// It waits, and blocks the turn for every client of the session: answered with an error
    /// after `client_request_timeout`, or at once when the client is lost.
    Bounded,
    /// It does not wait; sent to the conns that are attached to the session.
    Notification,
    /// It does not wait; sent to every connection, whatever its sessions: to be filtered by owner.
    Broadcast,
}

/// One message that a CLI sends of its own accord.
#[derive(Debug)]
pub struct Outgoing {
    /// The name on the wire.
    pub name: &'static str,
    /// Request or notification.
    pub shape: Shape,
    /// Where it names its session.
    pub session: Where,
}

const fn row(name: &'static str, shape: Shape, session: Where) -> Outgoing {
    Outgoing { name, shape, session }
}

use Shape::{Bounded, Broadcast, Notification, Request};
use Where::{MaybeSessionId, Nowhere, RequestId, Scope, SessionId};

/// The table, the chattiest first.
pub static OUTGOING: [Outgoing; 35] = [
    row("session.event", Notification, SessionId),
    row("session.lifecycle", Broadcast, SessionId),
    row("host.event", Broadcast, Scope),
    row("gitHubTelemetry.event", Broadcast, MaybeSessionId),
    row("hooks.invoke", Bounded, SessionId),
    row("systemMessage.transform", Bounded, SessionId),
    row("userInput.request", Request, SessionId),
    row("exitPlanMode.request", Request, SessionId),
    row("autoModeSwitch.request", Request, SessionId),
    row("skillProvider.list", Request, SessionId),
    row("skillProvider.read", Request, SessionId),
    row("providerToken.getToken", Request, SessionId),
    row("gitHubToken.getToken", Request, MaybeSessionId),
    row("factory.execute", Request, SessionId),
    row("factory.abort", Request, SessionId),
    row("tasks.cancel", Request, SessionId),
    row("canvas.open", Request, SessionId),
    row("canvas.close", Request, SessionId),
    row("canvas.action.invoke", Request, SessionId),
    row("sessionFs.readFile", Request, SessionId),
    row("sessionFs.writeFile", Request, SessionId),
    row("sessionFs.appendFile", Request, SessionId),
    row("sessionFs.exists", Request, SessionId),
    row("sessionFs.stat", Request, SessionId),
    row("sessionFs.mkdir", Request, SessionId),
    row("sessionFs.readdir", Request, SessionId),
    row("sessionFs.readdirWithTypes", Request, SessionId),
    row("sessionFs.rm", Request, SessionId),
    row("sessionFs.rename", Request, SessionId),
    row("sessionFs.sqliteQuery", Request, SessionId),
    row("sessionFs.sqliteTransaction", Request, SessionId),
    row("sessionFs.sqliteExists", Request, SessionId),
    row("llmInference.httpRequestStart", Request, MaybeSessionId),
    row("llmInference.httpRequestChunk", Request, RequestId),
    row("extensionLaunchProvider.resolve", Request, Nowhere),
];

/// The server message of that name, exactly.
pub fn outgoing(name: &str) -> Option<&'static Outgoing> {
    OUTGOING.iter().find(|row| row.name == name)
}
