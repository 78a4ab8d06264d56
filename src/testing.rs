//! Test doubles: a CLI server that is only rules, and a client that shows every byte; and the gateway between them.
//!
//! Nothing outside tests and benches may depend on this. The doubles use nothing of the product but the clock: framing
//! is written a second time here, so that a test cannot share the product's bugs. `gateway` is the product.

#[expect(clippy::indexing_slicing, reason = "a JSON value indexed by a name it lacks is null")]
pub mod client;
pub mod dns;
pub mod fake_cli;
pub mod fuzz;
pub mod gateway;
pub mod port;
pub mod wire;

pub use client::Client;
pub use dns::{FakeDns, Says};
pub use fake_cli::{Disk, FakeCli, FakeConfig, Fault};
pub use gateway::Gateway;
pub use port::free_port;
