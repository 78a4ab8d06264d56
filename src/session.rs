//! Which CLI has which session, who may move it, and how many there may be: pure decisions, no clocks, no sockets.

pub mod queue;
pub mod quota;
pub mod table;
