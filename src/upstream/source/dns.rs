//! Members by name: each address that a name has is one. Names are asked for again as their answers run out; who comes and
//! who goes decides [`names`], who is asked knows [`look`]. It speaks to no upstream.

pub mod look;
pub mod names;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use self::names::{Answer, Names, Outcome, Said, Step};
use crate::time::{self, Instant};
use crate::upstream::pool::Pool;

/// Makes a member at an address that the name of this number has, and has it join the pool.
pub type Join = dyn Fn(SocketAddr, usize) + Send + Sync;

/// The names of one pool.
pub struct Following {
    pool: Arc<Pool>,
    /// In the order of their numbers, without ports.
    hosts: Vec<String>,
    /// Locked while what was decided is done: two names may have the same address.
    names: Mutex<Names>,
    join: Box<Join>,
}

impl Following {
    /// Hosts in the order of their numbers in `names`. The pool expects them from now on.
    pub fn new(pool: Arc<Pool>, hosts: Vec<String>, names: Names, join: Box<Join>) -> Arc<Self> {
        pool.expect_names(hosts.len());
        Arc::new(Following { pool, hosts, names: Mutex::new(names), join })
    }

    /// Asks for the name of this number again and again, for as long as the process runs.
    pub async fn follow<F>(self: Arc<Self>, number: usize, look: impl Fn(String) -> F)
    where
        F: Future<Output = Answer>,
    {
        let Some(host) = self.hosts.get(number) else { return };
        loop {
            let answer = look(host.clone()).await;
            let Some(next) = self.heard(number, host, answer) else { return };
            tokio::time::sleep_until(next).await;
        }
    }

    /// Does what follows from an answer. Returns when the name is to be asked for next.
    fn heard(&self, number: usize, host: &str, answer: Answer) -> Option<Instant> {
        let why = why(&answer);
        let mut names = self.names.lock();
        let step = names.heard(number, answer, time::now())?;
        for address in &step.add {
            if !self.pool.recall(&address.to_string()) {
                (self.join)(*address, number);
            }
        }
        for address in &step.retire {
            self.pool.retire(&address.to_string());
        }
        drop(names);
        self.tell(host, &step, why);
        // Last, so that who waits for it finds the members.
        if step.resolved {
            self.pool.name_resolved();
        }
        if step.first {
            self.pool.name_tried();
        }
        Some(step.next)
    }

    fn tell(&self, host: &str, step: &Step, why: Option<String>) {
        let (pool, result) = (&self.pool.name, step.outcome.slug());
        self.pool.metrics.lookups.inc(result);
        let changed = !step.add.is_empty() || !step.retire.is_empty();
        if step.too_many > 0 && (changed || step.news) {
            let left_out = step.too_many;
            tracing::warn!(kind = "dns", pool, host, left_out, "a name has too many addresses");
        }
        if !step.news {
            return;
        }
        match step.outcome {
            Outcome::Found => {
                let addresses = step.addresses;
                tracing::info!(kind = "dns", pool, host, result, addresses, "a name is resolved");
            }
            Outcome::Partly | Outcome::Empty | Outcome::NoSuchName | Outcome::Failed => {
                let what = "a name has no answer with an address: who was a member by it stays one";
                tracing::warn!(kind = "dns", pool, host, result, error = why, "{what}");
            }
        }
    }
}

/// Why there is no answer.
fn why(answer: &Answer) -> Option<String> {
    [&answer.v4, &answer.v6].into_iter().find_map(|said| match said {
        Some(Said::Failed(why)) => Some(why.clone()),
        Some(Said::Addresses(_) | Said::Nothing | Said::NoSuchName) | None => None,
    })
}
