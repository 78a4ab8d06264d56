//! fairlead: a layer-4/7 reverse proxy and load balancer for fleets of GitHub Copilot CLI servers.
//!
//! Read the modules in this order; each may use only those of lower rows (`tests/layers.rs` checks it):
//!
//! | row | modules | what they are |
//! |---|---|---|
//! | 0 words | [`error`] [`id`] [`time`] | what everybody speaks of; no runtime, no serde |
//! | 1 protocol | [`rpc`] | frames, messages, the method table, the multiplexer, turns: pure |
//! | 1 decisions | [`balance`] [`session`] [`health`] | where it goes, who has it, is it well: pure |
//! | 3 | [`config`] [`drain`] [`observe`] | what was asked for, leaving, telling |
//! | 4 | [`upstream`] | pools, members, leases, links, managed CLIs |
//! | 5 | [`probe`] [`listen`] | the watch on each CLI; sockets that accept |
//! | 6 | [`proxy`] | THE DATA PATH: start reading here |
//! | 8 | [`server`] | the composition root: the only place that knows everything |
//! | 9 | [`cli`] | the command line |

pub mod balance;
pub mod cli;
pub mod config;
pub mod drain;
pub mod error;
pub mod health;
pub mod id;
pub mod listen;
pub mod observe;
pub mod probe;
pub mod proxy;
pub mod rpc;
pub mod server;
pub mod session;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod upstream;
pub mod want;
