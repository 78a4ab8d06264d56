//! The data path. A conn is accepted, admitted, and relayed: accept -> identify -> authorise -> place -> connect -> relay.
//!
//! Start reading at [`jsonrpc`]: one task carries a conn and all its links, and asks its [`crate::rpc::mux::Mux`] what to do.

pub mod admit;
pub mod budget;
pub mod buffers;
pub mod callers;
pub mod edge;
pub mod http;
pub mod jsonrpc;
mod origin;
pub mod relay;
pub mod tcp;
