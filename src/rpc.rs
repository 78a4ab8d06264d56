//! JSON-RPC 2.0 as Copilot CLIs and SDKs speak it: frames, messages, the multiplexer, turns.
//!
//! Pure: bytes, events and `now` go in; bytes and actions come out. Knows nothing of sockets, config or clocks.

pub mod frame;
pub mod json;
pub mod merge;
pub mod message;
pub mod methods;
pub mod mux;
pub mod out;
pub mod policy;
pub mod turn;
