//! The CLI's JSON-RPC protocol as pure code: what a method is, how answers are joined.
//!
//! Never opens a socket, reads a clock or knows the config.

pub mod merge;
pub mod methods;
