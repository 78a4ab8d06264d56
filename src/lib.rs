//! fairlead: a layer-4/7 reverse proxy and load balancer for fleets of GitHub Copilot CLI servers.
//!
//! Read the modules in this order; each may use only those of lower rows (`tests/layers.rs` checks it):
//!
//! | row | modules | what they are |
//! |---|---|---|
//! | words | [`error`] [`id`] [`time`] [`caller`], then [`want`] [`placement`] [`rate`] | what everybody speaks of; no runtime, no serde |
//! | protocol | [`rpc`] [`wire`] | frames, messages, the method table, the multiplexer, turns; what comes before frames: pure |
//! | decisions | [`balance`] [`session`] [`health`] [`tenancy`] | where it goes, who has it, is it well, who may: pure |
//! | who calls | [`identity`] | what was presented, and whom it proves: pure |
//! | asked for | [`config`] | what the operator wrote |
//! | bytes | [`stream`] | a connection, plain or within TLS |
//! | leaving | [`drain`] | the one place that starts tasks, and waits for them |
//! | telling | [`observe`] | metrics, log lines, readiness |
//! | keeping | [`ledger`] | whose each session is, in memory or in a file |
//! | fleet | [`upstream`] | pools, members, leases; where members come from: names, managed CLIs |
//! | edges | [`probe`] [`listen`] | the watch on each CLI, probes of what is none; sockets that accept |
//! | data path | [`proxy`] | START READING HERE |
//! | root | [`server`] | the only place that knows everything |
//! | command line | [`cli`] | arguments in, exit code out |

pub mod balance;
pub mod caller;
pub mod cli;
pub mod config;
pub mod drain;
pub mod error;
pub mod health;
pub mod id;
pub mod identity;
pub mod ledger;
pub mod listen;
pub mod observe;
pub mod placement;
pub mod probe;
pub mod proxy;
pub mod rate;
pub mod rpc;
pub mod server;
pub mod session;
pub mod stream;
pub mod tenancy;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod upstream;
pub mod want;
pub mod wire;
