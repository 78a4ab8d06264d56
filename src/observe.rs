//! Telling: metrics, log lines, readiness, and the HTTP endpoints that show them.
//!
//! Never decides anything, never blocks who reports, and never sees a prompt, a token or a key.

pub mod audit;
pub mod endpoints;
pub mod healthcheck;
pub mod lines;
pub mod logging;
pub mod metrics;
pub mod readiness;
pub mod shown;
