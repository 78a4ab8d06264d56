//! The HTTP listener as a program among programs: fairlead, nginx and HAProxy in front of a server that records every byte.
//!
//! Every wait is for a fact, with a deadline. Nothing here shares a line with the product.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where it fails"
)]

#[path = "edge/backend.rs"]
mod backend;
#[path = "edge/client.rs"]
mod client;
#[path = "edge/differential.rs"]
mod differential;
#[path = "edge/frames.rs"]
mod frames;
#[path = "edge/peers.rs"]
mod peers;
#[path = "edge/reader.rs"]
mod reader;
#[path = "edge/smuggling.rs"]
mod smuggling;
#[path = "edge/timing.rs"]
mod timing;
