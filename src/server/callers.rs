//! Who calls, and whose sessions are, as the configuration has it. Files that prove something are read again when they
//! change; one that is not right leaves the old one in force.

use std::sync::Arc;

use parking_lot::RwLock;

use super::StartError;
use super::secrets::{LOOK, stamp};
use crate::caller::{Caller, Owner};
use crate::config::{self, Config, Identity, Sessions, UnknownSessions};
use crate::drain::Tasks;
use crate::id::SessionId;
use crate::identity::Identities;
use crate::ledger::{Class, Ledger};
use crate::observe::metrics::Metrics;
use crate::proxy::admit::Classes;
use crate::proxy::edge::Claims;
use crate::rpc::mux::Authentication;
use crate::rpc::policy::{Callers, Policy};
use crate::upstream::pool::{Owners, Unknown, Visitor};

/// What a listener makes of a token.
pub(super) fn authentication(listener: &config::Listener) -> Authentication {
    match listener.authentication {
        config::Authentication::Required => Authentication::Required,
        config::Authentication::Optional if listener.identities().take_tokens() => {
            Authentication::Optional
        }
        config::Authentication::Optional => Authentication::NotConfigured,
    }
}

/// Which sessions of a listener outlive their clients.
pub(super) fn classes(listener: &config::Listener) -> Classes {
    let others = match listener.sessions {
        Sessions::Persistent => Class::Persistent,
        Sessions::Ephemeral => Class::Ephemeral,
    };
    Classes { ephemeral: listener.ephemeral_pattern.clone(), others }
}

/// Who has not proven anything.
pub(super) fn anonymous(listener: &config::Listener) -> Visitor {
    let unknown = match listener.unknown_sessions {
        UnknownSessions::Deny => Unknown::Deny,
        UnknownSessions::Pattern => Unknown::Pattern,
        UnknownSessions::Adopt => Unknown::Adopt,
    };
    Visitor { caller: Caller::anonymous(&listener.name), unknown }
}

/// What a client of the listener may call.
pub(super) fn policy(config: &Config, listener: &config::Listener) -> Policy {
    let callers =
        if config.tells_apart(&listener.pool) { Callers::ToldApart } else { Callers::One };
    Policy::new(callers, &listener.allow, &listener.deny)
}

/// What a client of the listener proves.
pub(super) fn claims(listener: &config::Listener, tasks: &Tasks) -> Arc<Claims> {
    let known = Arc::new(RwLock::new(Arc::new(listener.identities())));
    if listener.identity.iter().any(|identity| identity.file().is_some()) {
        let (name, identity) = (listener.name.clone(), listener.identity.clone());
        tasks.spawn_aside("identity", follow(name, identity, Arc::clone(&known)));
    }
    Arc::new(move |evidence, now| {
        let known = Arc::clone(&known.read());
        let claim = known.claim(evidence, now)?;
        Some(claim.map_err(crate::identity::Refused::slug))
    })
}

/// Reads what changed, for as long as the process runs.
async fn follow(listener: String, mut all: Vec<Identity>, known: Arc<RwLock<Arc<Identities>>>) {
    let stamps =
        |all: &[Identity]| -> Vec<_> { all.iter().filter_map(Identity::file).map(stamp).collect() };
    // The first look reads them in any case: they may have changed since the configuration was read.
    let mut seen = Vec::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = stamps(&all);
        if now == seen {
            continue;
        }
        let first = std::mem::replace(&mut seen, now).is_empty();
        let mut changed = false;
        for identity in &mut all {
            match identity.reread() {
                Ok(read) => {
                    *identity = read;
                    changed = true;
                }
                Err(problems) => tracing::error!(
                    listener,
                    problems = problems.len(),
                    "a file that proves who calls is not right any more: the old one holds"
                ),
            }
        }
        if changed {
            let extractors = all.iter().filter_map(Identity::extractor).collect();
            *known.write() = Arc::new(Identities::new(extractors));
            if !first {
                tracing::info!(listener, "what proves who calls was read again");
            }
        }
    }
}

/// The ledger of this process, if a listener tells callers apart or makes ephemeral sessions.
pub(super) fn ledger(
    config: &Config,
    metrics: &Arc<Metrics>,
) -> Result<Option<Arc<Ledger>>, StartError> {
    if !config.listeners.iter().any(config::Listener::keeps_books) {
        return Ok(None);
    }
    let dir = config.state_dir.join("ledger");
    let made = std::fs::create_dir_all(&dir);
    made.map_err(|error| StartError::System("make the ledger's directory", error))?;
    let ledger = Ledger::open(&dir).map_err(StartError::Ledger)?;
    ledger.report(Arc::clone(metrics));
    let ledger = Arc::new(ledger);
    // Not held by the metrics, to which it reports.
    let (counted, records) = (Arc::downgrade(&ledger), metrics.ledger_records.clone());
    metrics.at_scrape(move || {
        let count = counted.upgrade().map_or(0, |ledger| ledger.len());
        records.set(i64::try_from(count).unwrap_or(i64::MAX));
    });
    Ok(Some(ledger))
}

/// The book of a pool, if one of its listeners tells callers apart or makes ephemeral sessions.
pub(super) fn owners(
    config: &Config,
    pool: &config::Pool,
    ledger: Option<&Arc<Ledger>>,
) -> Option<Owners> {
    let mut listeners = config.listeners.iter().filter(|l| l.pool == pool.name);
    let ledger = ledger.filter(|_| listeners.any(config::Listener::keeps_books))?;
    let grants = pool.grants.clone();
    let grants = move |session: &SessionId, owner: &Owner| {
        let fits = grants.iter().filter(|g| g.session.named(session.as_str()).is_some());
        fits.flat_map(|grant| grant.grantees(&owner.realm)).collect()
    };
    let apart = config.tells_apart(&pool.name);
    Some(Owners::new(apart, Arc::clone(ledger), Box::new(grants)))
}
