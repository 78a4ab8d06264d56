//! A listener as it is, its clients' sockets, and upstreams that write down every byte they get.

mod answers;
mod bodies;
mod both;
mod drain;
mod flaws;
mod http2;
mod placement;
mod rig;
mod upgrades;
