//! What every listener has, whatever is spoken on it: how clients come in, who they are, and what they may take.

use std::sync::Arc;
use std::time::SystemTime;

use super::admit::Keys;
use super::callers::Callers;
use crate::caller::{Caller, Claim, Trust};
use crate::identity::Evidence;
use crate::listen::door::Door;
use crate::observe::metrics::ListenerMetrics;
use crate::upstream::pool::Visitor;

/// Whom evidence proves: `None` if nothing was presented that says anything, `Err` with the word for the log if what was
/// presented is not good.
pub type Claims =
    dyn Fn(&Evidence<'_>, SystemTime) -> Option<Result<Claim, &'static str>> + Send + Sync;

/// See the module's head.
pub struct Edge {
    /// The listener's name in logs and metrics.
    pub name: String,
    /// What a client passes before it is a conn; `None`: nothing.
    pub door: Option<Door>,
    /// What a client proves.
    pub claims: Arc<Claims>,
    /// Whether who proves nothing is turned away.
    pub authenticates: bool,
    /// Whom a proven caller may act for, where its proof does not say.
    pub trust: Trust,
    /// Who calls as long as nobody proves who it is.
    pub anonymous: Arc<Visitor>,
    /// What each caller may take.
    pub callers: Callers,
    /// How what is placed gets its key.
    pub keys: Keys,
    /// Its series.
    pub metrics: Arc<ListenerMetrics>,
}

impl Edge {
    /// The caller that a claim proves here.
    pub fn caller_of(&self, claim: &Claim) -> Caller {
        claim.caller(&self.name, self.trust)
    }
}
