//! The pure cores under thousands of schedules: muxes, table and turn trackers between model clients and model CLIs.
//!
//! A schedule is a function of its seed: which bytes come in which pieces, who does what next, what fails, how time
//! passes. `sim/shell.rs` does what the data path and the pool do around the cores; `sim/truth.rs` knows what really
//! happened, and nothing that a client or CLI gets is taken without being compared with it. After the schedule nothing
//! new happens, and all that is under way has to end: answers, turns, placements, leases.
//!
//! A failure prints the seed and the end of its trace. `SIM_SEED=n cargo test --test sim no_schedule` runs that one alone
//! and prints all of it; `SIM_SEEDS=n` tries more of them.
//!
//! That the checkers bite is proven by bugs (`sim/mutate.rs`), each of which a test must find, under the right name.
//! They are made at the edge of the cores: an answer is dropped or swapped, an idle is made up, just as the bug would have
//! it. So no switch for tests is in the cores, and the checkers, which see only the edge, see the same.
//!
//! No socket, no clock, no task. What clients do that races with itself (a resume and a detach of one session at once)
//! has no right outcome, and is only held to the other promises.

#[cfg(test)]
#[path = "sim/broadcast.rs"]
mod broadcast;
#[cfg(test)]
#[path = "sim/checks.rs"]
mod checks;
#[cfg(test)]
#[path = "sim/cli.rs"]
mod cli;
#[cfg(test)]
#[path = "sim/client.rs"]
mod client;
#[cfg(test)]
#[path = "sim/faults.rs"]
mod faults;
#[cfg(test)]
#[path = "sim/mutate.rs"]
mod mutate;
#[cfg(test)]
#[path = "sim/pool.rs"]
mod pool;
#[cfg(test)]
#[path = "sim/rng.rs"]
mod rng;
#[cfg(test)]
#[path = "sim/runner.rs"]
mod runner;
#[cfg(test)]
#[path = "sim/shell.rs"]
mod shell;
#[cfg(test)]
#[path = "sim/table.rs"]
mod table;
#[cfg(test)]
#[path = "sim/truth.rs"]
mod truth;
#[cfg(test)]
#[path = "sim/turns.rs"]
mod turns;
#[cfg(test)]
#[path = "sim/wire.rs"]
mod wire;
#[cfg(test)]
#[path = "sim/work.rs"]
mod work;
#[cfg(test)]
#[path = "sim/world.rs"]
mod world;
