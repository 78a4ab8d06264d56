//! A pool without a server around it, for unit tests of its parts and of who probes it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Parameters, Patience, Pool};
use crate::balance::Policy;
use crate::drain::Tasks;
use crate::health::state::State;
use crate::id::UpstreamId;
use crate::observe::metrics::{Metrics, Vocabulary};
use crate::session::quota::Bounds;
use crate::session::table::{self, CreateExisting, Storage};
use crate::time::Duration;
use crate::upstream::member::{self, Ears, Member};

const SECOND: Duration = Duration::from_secs(1);

/// See the module's head.
pub(crate) struct Bench {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tasks: Tasks,
    pub(crate) pool: Arc<Pool>,
    last: AtomicU32,
}

impl Bench {
    /// Nobody is in it.
    pub(crate) fn new(storage: Storage) -> Self {
        static SESSIONS: [&str; 4] = [
            table::State::ALL[0].slug(),
            table::State::ALL[1].slug(),
            table::State::ALL[2].slug(),
            table::State::ALL[3].slug(),
        ];
        let upstream_states = &State::SLUGS;
        let words = Vocabulary { methods: vec![], upstream_states, session_states: &SESSIONS };
        let (metrics, tasks) = (Metrics::new("0", "0", words), Tasks::new());
        let with = Parameters {
            policy: Policy::RoundRobin,
            storage,
            create_existing: CreateExisting::Resume,
            lookup_timeout: SECOND,
            lookup_wait: SECOND,
            fleet_timeout: SECOND,
            ephemeral_grace: SECOND,
            sessions: Bounds::default(),
            turns: Bounds::default(),
            patience: Patience { length: 0, timeout: Duration::ZERO },
        };
        let pool = Pool::new("p".into(), vec![], with, None, metrics.pool("p"), tasks.clone());
        Bench { metrics, tasks, pool, last: AtomicU32::new(0) }
    }

    /// Somebody who has not joined, and goes up and down at the second sign of it, the first time at the first.
    pub(crate) fn member(&self, name: &str, address: Option<SocketAddr>) -> (Arc<Member>, Ears) {
        let id = UpstreamId(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let with = member::Parameters {
            name: name.to_owned(),
            address,
            weight: 1,
            max_sessions: None,
            max_turns: None,
            rise: 2,
            fall: 2,
            token: None,
        };
        let (member, ears) = Member::new(id, with, self.metrics.upstream("p", name));
        (Arc::new(member), ears)
    }

    /// What a scrape shows of this series.
    pub(crate) fn shows(&self, series: &str) -> Option<f64> {
        let text = self.metrics.render().unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{series} ")))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}
