//! What somebody wants of a session: the question that the multiplexer asks and the session table answers.

use crate::id::AskId;
use crate::time::Duration;

/// How long a CLI may have a session in memory after its last conn left it, and write to its files; and how long a session
/// that is gone keeps its owner.
pub const LINGER: Duration = Duration::from_secs(2);

/// See the module's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// Start it, under an id that may be taken.
    Create,
    /// Start it, under an id that nobody else can know.
    CreateNew,
    /// Attach to it.
    Resume,
    /// Answer what it asked its clients for.
    Answer(AskId),
    /// Start a turn in it, once there is room for one.
    Turn,
    /// Call a method on it.
    Use {
        /// Whether a session that is only stored will do.
        on_disk: bool,
    },
}

impl Want {
    /// Whether a session that only lies on a disk may go to another CLI for it.
    pub fn moves(&self) -> bool {
        match self {
            Want::Create | Want::CreateNew | Want::Resume | Want::Use { on_disk: true } => true,
            Want::Answer(_) | Want::Turn | Want::Use { on_disk: false } => false,
        }
    }
}
