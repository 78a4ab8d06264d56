//! Whether a CLI is well: pure decisions from probe results and failures.

pub mod outlier;
pub mod state;
