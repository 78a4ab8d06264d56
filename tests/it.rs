//! The whole gateway in one process, between fake CLIs and raw clients: what users and operators are promised, as facts.
//!
//! Every wait is for a fact, with a deadline. Times in the configurations are short; no test depends on one being kept.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where it fails"
)]

#[path = "it/answers.rs"]
mod answers;
#[path = "it/apps.rs"]
mod apps;
#[path = "it/audit.rs"]
mod audit;
#[path = "it/bounds.rs"]
mod bounds;
#[path = "it/callers.rs"]
mod callers;
#[path = "it/canaries.rs"]
mod canaries;
#[path = "it/caps.rs"]
mod caps;
#[path = "it/certificates.rs"]
mod certificates;
#[path = "it/client_lost.rs"]
mod client_lost;
#[path = "it/conns.rs"]
mod conns;
#[path = "it/discovery.rs"]
mod discovery;
#[path = "it/drain.rs"]
mod drain;
#[path = "it/ephemeral.rs"]
mod ephemeral;
#[path = "it/fleet.rs"]
mod fleet;
#[path = "it/forgetting.rs"]
mod forgetting;
#[path = "it/frames.rs"]
mod frames;
#[path = "it/goodbye.rs"]
mod goodbye;
#[path = "it/half.rs"]
mod half;
#[path = "it/health.rs"]
mod health;
#[path = "it/http.rs"]
mod http;
#[path = "it/leaving.rs"]
mod leaving;
#[path = "shared/log.rs"]
mod log;
#[path = "it/lost.rs"]
mod lost;
#[path = "it/managed.rs"]
mod managed;
#[path = "it/names.rs"]
mod names;
#[path = "it/oversize.rs"]
mod oversize;
#[path = "it/owners.rs"]
mod owners;
#[path = "it/placement.rs"]
mod placement;
#[path = "it/policy.rs"]
mod policy;
#[path = "it/process.rs"]
mod process;
#[path = "shared/program.rs"]
mod program;
#[path = "it/proxied.rs"]
mod proxied;
#[path = "it/rates.rs"]
mod rates;
#[path = "it/relay.rs"]
mod relay;
#[path = "it/relays.rs"]
mod relays;
#[path = "it/resets.rs"]
mod resets;
#[path = "it/restart.rs"]
mod restart;
#[path = "it/rig.rs"]
mod rig;
#[path = "it/routing.rs"]
mod routing;
#[path = "it/seats.rs"]
mod seats;
#[path = "it/secrets.rs"]
mod secrets;
#[path = "it/shared_session.rs"]
mod shared_session;
#[path = "it/stalls.rs"]
mod stalls;
#[path = "it/strangers.rs"]
mod strangers;
#[path = "it/surrogates.rs"]
mod surrogates;
#[path = "it/telemetry.rs"]
mod telemetry;
#[path = "it/tell.rs"]
mod tell;
#[path = "it/tls.rs"]
mod tls;
#[path = "it/upstreams.rs"]
mod upstreams;
#[path = "it/users.rs"]
mod users;
