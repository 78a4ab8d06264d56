//! From the tables of a file to a [`Config`], and everything that keeps it from being one.
//!
//! Reads every table to its end, then compares the parts. Asks the world for nothing but the
//! environment, the secrets and certificates that the file names, and the number of cores.

mod access;
mod agree;
mod callers;
mod edge;
mod effect;
mod health;
mod http;
mod identity;
mod listener;
mod methods;
mod pool;
mod tables;
mod tcp;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use super::Checked;
use super::file::{Problems, Source};
use super::keys;
use super::model::{Config, Metrics};
use super::problem::Problem;
use super::reader::Reader;
use super::values;

/// What a file may refer to outside itself.
pub struct World<'a> {
    /// Looks up an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// What relative paths are relative to: the folder of the file. Absolute.
    pub folder: &'a Path,
}

impl<'a> World<'a> {
    /// The environment of this process.
    pub fn of_process(folder: &'a Path) -> Self {
        World { env: &|name| std::env::var(name).ok(), folder }
    }
}

/// Checks `text`: the configuration with its warnings, or all problems.
pub(super) fn check(name: &str, text: &str, world: &World<'_>) -> Checked {
    let (table, problems) = Problems::parse(Source::new(name, text));
    let config = {
        let root = Reader::open(&keys::ROOT, &table, 0..0, &problems);
        read(&root, world, &problems)
    };
    let found = problems.finish();
    match config {
        Some(config) if !found.iter().any(Problem::is_error) => Ok((config, found)),
        Some(_) | None => Err(found),
    }
}

/// Nothing only if a problem was reported.
fn read(root: &Reader<'_>, world: &World<'_>, problems: &Problems<'_>) -> Option<Config> {
    let mut listeners: Vec<_> = root
        .tables("listener", &keys::LISTENER)
        .iter()
        .map(|r| listener::read(r, world, problems))
        .collect();
    let mut pools: Vec<_> =
        root.tables("pool", &keys::POOL).iter().map(|r| pool::read(r, world, problems)).collect();
    let metrics = root.table("metrics", &keys::METRICS).map(|r| {
        let default = std::net::SocketAddr::from(([127, 0, 0, 1], 9464));
        (r.place_of("bind"), Metrics { bind: r.or("bind", values::address, default) })
    });
    if listeners.is_empty() && root.raw("listener").is_none() {
        problems.missing(&root.at, "no [[listener]]: nobody could connect");
    }
    let pools_read = root.raw("pool").is_none() || !pools.is_empty();
    access::settle(&mut listeners, &pools, problems);
    health::settle(&listeners, &mut pools, problems);
    agree::check(&listeners, &pools, pools_read, metrics.as_ref(), problems);
    let state_dir = state_dir(root, world);
    let runtime = tables::runtime(root);
    let dns = tables::dns(root, problems);
    let ledger = tables::ledger(root);
    let drain = tables::drain(root);
    let limits = tables::limits(root, problems);
    let log = tables::log(root);
    // Everything is read by now: nothing above may leave early.
    Some(Config {
        state_dir,
        runtime,
        listeners: listeners.into_iter().map(|draft| draft.listener).collect::<Option<_>>()?,
        pools: pools.into_iter().map(|draft| draft.pool).collect::<Option<_>>()?,
        dns,
        ledger,
        metrics: metrics.map(|(_, metrics)| metrics),
        drain,
        limits,
        log,
    })
}

fn state_dir(root: &Reader<'_>, world: &World<'_>) -> PathBuf {
    let default = || {
        let absolute = |name: &str| {
            let text = (world.env)(name)?;
            // systemd may name several, separated by colons.
            let first = PathBuf::from(text.split(':').next()?);
            first.is_absolute().then_some(first)
        };
        absolute("STATE_DIRECTORY")
            .or_else(|| absolute("XDG_STATE_HOME").map(|dir| dir.join("fairlead")))
            .or_else(|| absolute("HOME").map(|dir| dir.join(".local/state/fairlead")))
            .unwrap_or_else(|| PathBuf::from("/var/lib/fairlead"))
    };
    root.read("state_dir", values::path).map_or_else(default, |path| world.folder.join(path))
}
