//! Why a ledger cannot be opened, or what it was told is not durable: a closed list. Clients hear none of this.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Who can do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Whoever runs fairlead: the file is not what it should be.
    Operator,
    /// The disk, or its room.
    Machine,
    /// Nobody in particular: there is too much.
    Load,
    /// Fairlead itself.
    Ours,
}

/// See the module's head. Texts name the file, and no owner or session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerError {
    /// Another process has it open.
    InUse(Arc<Path>),
    /// It is no ledger of fairlead's.
    Foreign(Arc<Path>),
    /// It was written by a fairlead that this one is too old for.
    Newer(Arc<Path>),
    /// It was a ledger, and cannot be read.
    Damaged {
        /// The file.
        file: Arc<Path>,
        /// What is wrong with it.
        why: Arc<str>,
    },
    /// The file cannot be read or written now: no room, no right, no disk.
    Failing {
        /// The file.
        file: Arc<Path>,
        /// What the system says.
        why: Arc<str>,
    },
    /// It holds as many sessions as it takes.
    Crowded,
    /// The ledger was closed before this was written.
    Closed,
}

impl LedgerError {
    /// Who can do something about it.
    pub const fn fault(&self) -> Fault {
        match self {
            LedgerError::InUse(_) | LedgerError::Foreign(_) | LedgerError::Newer(_) => {
                Fault::Operator
            }
            LedgerError::Damaged { .. } | LedgerError::Failing { .. } => Fault::Machine,
            LedgerError::Crowded => Fault::Load,
            LedgerError::Closed => Fault::Ours,
        }
    }

    /// The word for logs.
    pub const fn slug(&self) -> &'static str {
        match self {
            LedgerError::InUse(_) => "in_use",
            LedgerError::Foreign(_) => "foreign",
            LedgerError::Newer(_) => "newer",
            LedgerError::Damaged { .. } => "damaged",
            LedgerError::Failing { .. } => "failing",
            LedgerError::Crowded => "crowded",
            LedgerError::Closed => "closed",
        }
    }

    /// Whether the same may succeed later, without anybody changing the file.
    pub const fn retryable(&self) -> bool {
        match self {
            LedgerError::InUse(_)
            | LedgerError::Foreign(_)
            | LedgerError::Newer(_)
            | LedgerError::Damaged { .. }
            | LedgerError::Closed => false,
            LedgerError::Failing { .. } | LedgerError::Crowded => true,
        }
    }
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LedgerError::InUse(file) => {
                write!(f, "{} is in use by another process", file.display())
            }
            LedgerError::Foreign(file) => {
                write!(f, "{} is not a ledger of fairlead's", file.display())
            }
            LedgerError::Newer(file) => {
                write!(f, "{} was written by a newer fairlead", file.display())
            }
            LedgerError::Damaged { file, why } => {
                write!(f, "{} is damaged: {why}", file.display())
            }
            LedgerError::Failing { file, why } => {
                write!(f, "{} cannot be read or written: {why}", file.display())
            }
            LedgerError::Crowded => f.write_str("the ledger holds as many sessions as it takes"),
            LedgerError::Closed => f.write_str("the ledger is closed"),
        }
    }
}

impl std::error::Error for LedgerError {}
