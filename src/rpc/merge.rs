//! The kinds of request that one CLI alone cannot answer.
//!
//! Never reads an answer.

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
