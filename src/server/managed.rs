//! Managed CLIs as members: their addresses come and go with their processes.

use std::sync::Arc;

use tokio::sync::watch;

use crate::health::state::Seen;
use crate::observe::metrics::GaugeGuard;
use crate::upstream::member::Member;
use crate::upstream::pool::Pool;
use crate::upstream::source::managed::Status;

/// Follows a process, for as long as it is supervised.
pub(super) async fn follow(
    pool: Arc<Pool>,
    member: Arc<Member>,
    mut status: watch::Receiver<Status>,
) {
    let mut running = None;
    let mut last = 0;
    loop {
        let now = status.borrow_and_update().clone();
        show_crash_loop(&member, &now);
        // Before anything may be placed: who waits for it may go.
        let replaced = matches!(now, Status::Ready { generation, .. } if generation != last);
        if now.earlier_is_dead() || replaced {
            pool.member_reaped(&member);
        }
        match now {
            Status::Ready { addr, generation, .. } => {
                last = generation;
                running.get_or_insert_with(|| GaugeGuard::enter(&pool.metrics.spawned));
                member.set_address(Some(addr));
            }
            Status::Starting { .. } => member.set_address(None),
            Status::Stopping => {
                if let Some(change) = member.see(Seen::Leaving) {
                    pool.member_changed(&member, change);
                }
            }
            Status::Exited { .. } => {
                // Its links are lost; what it started may write to its home still.
                pool.member_ending(&member);
                running = None;
                gone(&pool, &member);
            }
            Status::Backoff { .. } | Status::Stopped => {
                running = None;
                gone(&pool, &member);
            }
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

fn gone(pool: &Pool, member: &Member) {
    member.set_address(None);
    if let Some(change) = member.see(Seen::Gone) {
        pool.member_changed(member, change);
        pool.member_dead(member);
    }
}

/// One that is on its way from one of these to another is what it was.
fn show_crash_loop(member: &Member, status: &Status) {
    match status {
        Status::Starting { .. }
        | Status::Ready { .. }
        | Status::Backoff { .. }
        | Status::Stopped => member.metrics.crash_loop.set(status.is_crash_loop()),
        Status::Stopping | Status::Exited { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::balance::Policy;
    use crate::caller::Caller;
    use crate::drain::Tasks;
    use crate::id::{ConnId, SessionId, UpstreamId};
    use crate::ledger::Class;
    use crate::observe::audit::Who;
    use crate::observe::metrics::{Metrics, Vocabulary};
    use crate::rpc::mux::{Found, Left, Ticket};
    use crate::session::quota::Bounds;
    use crate::session::table::{CreateExisting, State, Storage};
    use crate::time::Duration;
    use crate::upstream::hub::Event;
    use crate::upstream::member;
    use crate::upstream::pool::{By, Key, Parameters, Patience, Unknown, Visitor};
    use crate::want::Want;

    const CONN: ConnId = ConnId(1);

    struct Rig {
        metrics: Arc<Metrics>,
        tasks: Tasks,
        pool: Arc<Pool>,
    }

    impl Rig {
        /// Two CLIs that are up, on one disk.
        fn new() -> Self {
            static STATES: [&str; 4] = [
                State::ALL[0].slug(),
                State::ALL[1].slug(),
                State::ALL[2].slug(),
                State::ALL[3].slug(),
            ];
            let upstream_states = &crate::health::state::State::SLUGS;
            let words = Vocabulary { methods: vec![], upstream_states, session_states: &STATES };
            let (metrics, tasks) = (Metrics::new("0", "0", words), Tasks::new());
            let member = |number: u32| {
                let name = format!("cli-{number}");
                let series = metrics.upstream("p", &name);
                let with = member::Parameters {
                    name,
                    address: None,
                    weight: 1,
                    max_sessions: None,
                    max_turns: None,
                    rise: 1,
                    fall: 1,
                    token: None,
                };
                let (member, _ears) = Member::new(UpstreamId(number), with, series);
                member.see(Seen::Answered);
                Arc::new(member)
            };
            let with = Parameters {
                policy: Policy::RoundRobin,
                storage: Storage::Shared,
                create_existing: CreateExisting::Resume,
                lookup_timeout: Duration::from_secs(1),
                lookup_wait: Duration::from_secs(1),
                fleet_timeout: Duration::from_secs(1),
                ephemeral_grace: Duration::from_secs(1),
                sessions: Bounds::default(),
                turns: Bounds::default(),
                patience: Patience { length: 0, timeout: Duration::ZERO },
            };
            let (members, series) = (vec![member(0), member(1)], metrics.pool("p"));
            let pool = Pool::new("p".into(), members, with, None, series, tasks.clone());
            Rig { metrics, tasks, pool }
        }

        /// Lets somebody who may do all do something.
        fn by<T>(&self, todo: impl FnOnce(By<'_>) -> T) -> T {
            let visitor = Visitor { caller: Caller::anonymous("l"), unknown: Unknown::Adopt };
            let who = Who {
                caller: &visitor.caller,
                conn_id: CONN,
                client_addr: "127.0.0.1:1".parse().unwrap(),
                listener: "l",
                pool: "p",
            };
            todo(By { visitor: &visitor, who, key: &Key::default(), class: Class::Persistent })
        }

        fn attach(&self, session: &SessionId, epoch: u64) {
            self.by(|by| self.pool.attached(session, CONN, epoch, by));
        }

        /// Where the session is, or goes; `None`: that is waited for.
        fn seek(&self, want: &Want) -> Option<(UpstreamId, u64)> {
            let session = SessionId::new("s");
            match self.by(|by| self.pool.seek(CONN, Ticket(1), &session, want, None, by))? {
                Found::Go { upstream, epoch, .. } => Some((upstream, epoch)),
                found @ (Found::Refused(_) | Found::NotAsked) => panic!("{found:?}"),
            }
        }

        fn shows(&self, line: &str) -> bool {
            self.metrics.render().unwrap().lines().any(|l| l == line)
        }
    }

    async fn until(so: impl Fn() -> bool) {
        let fact = async {
            while !so() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), fact).await.unwrap();
    }

    #[tokio::test]
    async fn a_session_moves_once_all_of_its_clis_process_is_reaped_and_that_is_a_failover() {
        let rig = Rig::new();
        let session = SessionId::new("s");
        let inbox = rig.pool.hub.enter(CONN);
        let (home, epoch) = rig.seek(&Want::CreateNew).unwrap();
        rig.attach(&session, epoch);
        let member = rig.pool.member(home).unwrap();
        let addr = "127.0.0.1:1".parse().unwrap();
        let (status, heard) = watch::channel(Status::Ready { addr, pid: 1, generation: 1 });
        rig.tasks.spawn_aside("follow", follow(Arc::clone(&rig.pool), Arc::clone(&member), heard));
        until(|| member.address().is_some()).await;

        status.send_replace(Status::Exited { pid: 1 });
        until(|| !member.is_up()).await;
        rig.pool.left(&session, CONN, home, epoch, Left::LinkLost);
        assert_eq!(rig.seek(&Want::Resume), None, "what it started may write still");
        assert_eq!(rig.seek(&Want::Use { on_disk: true }), None);

        let until_then = crate::time::now() + Duration::from_secs(60);
        let last = String::new();
        status.send_replace(Status::Backoff { until: until_then, failures: 1, last });
        let again =
            async { while !matches!(poll_fn(|cx| inbox.poll_next(cx)).await, Event::Again(..)) {} };
        tokio::time::timeout(Duration::from_secs(20), again).await.unwrap();
        let (elsewhere, epoch) = rig.seek(&Want::Resume).unwrap();
        assert_ne!(elsewhere, home);
        rig.attach(&session, epoch);
        assert!(rig.shows(r#"fairlead_session_failovers_total{pool="p",result="ok"} 1"#));
        // Where it is attached already nothing fails over.
        rig.attach(&session, epoch);
        assert!(rig.shows(r#"fairlead_session_failovers_total{pool="p",result="ok"} 1"#));
    }

    #[tokio::test]
    async fn a_crash_loop_is_shown_while_the_cli_is_not_ready() {
        let rig = Rig::new();
        let member = rig.pool.member(UpstreamId(0)).unwrap();
        let (status, heard) = watch::channel(Status::Starting { attempt: 1 });
        rig.tasks.spawn_aside("follow", follow(Arc::clone(&rig.pool), member, heard));
        let shows = |value: u8| {
            rig.shows(&format!(
                r#"fairlead_upstream_crash_loop{{pool="p",upstream="cli-0"}} {value}"#
            ))
        };
        until(|| shows(0)).await;
        let until_then = crate::time::now() + Duration::from_secs(60);
        status.send_replace(Status::Backoff {
            until: until_then,
            failures: 3,
            last: String::new(),
        });
        until(|| shows(1)).await;
        status.send_replace(Status::Starting { attempt: 4 });
        let addr = "127.0.0.1:1".parse().unwrap();
        status.send_replace(Status::Ready { addr, pid: 1, generation: 1 });
        until(|| shows(0)).await;
        // Of the other nothing is known.
        assert!(
            !rig.metrics.render().unwrap().contains(r#"crash_loop{pool="p",upstream="cli-1"}"#)
        );
    }
}
