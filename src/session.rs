//! Which CLI has which session, and who may move it: pure decisions, no clocks, no sockets.

pub mod table;
