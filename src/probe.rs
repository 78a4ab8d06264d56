//! The `watch`: fairlead's own connection to each CLI.

pub mod watch;
