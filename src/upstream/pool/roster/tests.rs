//! Members that come and go.

use std::ops::Deref;
use std::sync::Weak;

use super::*;
use crate::caller::{Caller, Owner, Realm};
use crate::error::Reason;
use crate::health::state::Seen;
use crate::id::{ConnId, SessionId};
use crate::ledger::Class;
use crate::observe::audit::Who;
use crate::rpc::mux::{Found, Left, Ticket};
use crate::session::table::Storage;
use crate::upstream::member::{Ears, Lease, Linked};
use crate::upstream::pool::bench::Bench;
use crate::upstream::pool::{By, Key, Unknown, Visitor};
use crate::want::Want;

const CONN: ConnId = ConnId(1);

struct Rig(Bench);

impl Deref for Rig {
    type Target = Bench;

    fn deref(&self) -> &Bench {
        &self.0
    }
}

impl Rig {
    fn new(storage: Storage) -> Self {
        Rig(Bench::new(storage))
    }

    /// One that is up, and whose watch is not there.
    fn member(&self, name: &str) -> (Arc<Member>, Ears) {
        let (member, ears) = self.0.member(name, None);
        member.see(Seen::Answered);
        (member, ears)
    }

    fn come(&self, name: &str) -> Arc<Member> {
        let (member, _) = self.member(name);
        assert!(self.pool.add(&member));
        member
    }

    fn names(&self) -> Vec<String> {
        self.pool.members().iter().map(|m| m.name.clone()).collect()
    }

    async fn until_names(&self, names: &[&str]) {
        let fact = async {
            while self.names() != names {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), fact).await.expect("they are others");
    }

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

    fn seek(&self, session: &str, want: &Want) -> Option<Found> {
        let session = SessionId::new(session);
        self.by(|by| self.pool.seek(CONN, Ticket(1), &session, want, None, by))
    }

    /// A session that is attached: where, and in which life.
    fn live(&self, session: &str) -> (UpstreamId, u64) {
        match self.seek(session, &Want::CreateNew) {
            Some(Found::Go { upstream, epoch, .. }) => {
                self.by(|by| self.pool.attached(&SessionId::new(session), CONN, epoch, by));
                (upstream, epoch)
            }
            found => panic!("{found:?}"),
        }
    }

    fn lease(&self, member: &Arc<Member>) -> Lease {
        self.pool.lease(member, &Owner { realm: Realm::Common, user: None })
    }
}

#[tokio::test(start_paused = true)]
async fn a_retired_member_gets_nothing_new_and_goes_once_its_last_session_has_left() {
    let rig = Rig::new(Storage::Own);
    let old = rig.come("a");
    let (home, epoch) = rig.live("s");
    assert_eq!(home, old.id);
    let new = rig.come("b");
    rig.pool.retire("a");
    for n in 0..4 {
        assert_eq!(rig.live(&format!("n{n}")).0, new.id, "its turn is not taken");
    }
    rig.until_names(&["a", "b"]).await;
    tokio::time::sleep(3 * LOOK).await;
    assert_eq!(rig.names(), ["a", "b"], "a session lives there");
    old.see(Seen::Gone);
    rig.pool.left(&SessionId::new("s"), CONN, home, epoch, Left::Detached);
    rig.until_names(&["b"]).await;
    assert!(old.is_ended());
    let lost = |found| matches!(found, Some(Found::Refused(r)) if r.reason == Reason::SessionLost);
    assert!(lost(rig.seek("s", &Want::Resume)), "with its disk");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_left_on_a_retired_member_comes_back_to_it() {
    let rig = Rig::new(Storage::Own);
    let old = rig.come("a");
    let (home, epoch) = rig.live("s");
    rig.pool.retire("a");
    rig.pool.left(&SessionId::new("s"), CONN, home, epoch, Left::Detached);
    let found = rig.seek("s", &Want::Resume);
    assert!(matches!(found, Some(Found::Go { upstream, .. }) if upstream == old.id), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_up_goes_once_it_says_that_what_was_left_with_it_is_not_in_memory() {
    let rig = Rig::new(Storage::Shared);
    let (old, mut ears) = rig.member("a");
    assert!(rig.pool.add(&old));
    let (home, epoch) = rig.live("s");
    rig.pool.retire("a");
    rig.pool.left(&SessionId::new("s"), CONN, home, epoch, Left::Detached);
    let ask = ears.asks.recv().await.unwrap();
    assert_eq!(ask.method, "session.mode.get");
    let answer = br#"{"jsonrpc":"2.0","id":1,"result":{"mode":"m"}}"#;
    ask.reply.send(bytes::Bytes::from_static(answer)).unwrap();
    let ask = ears.asks.recv().await.unwrap();
    assert_eq!(rig.names(), ["a"], "a turn may run there");
    let answer =
        br#"{"jsonrpc":"2.0","id":2,"error":{"code":-32603,"message":"Session not found: s"}}"#;
    ask.reply.send(bytes::Bytes::from_static(answer)).unwrap();
    rig.until_names(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_link_and_a_lease_hold_a_member() {
    let rig = Rig::new(Storage::Own);
    let member = rig.come("a");
    let (link, lease) = (Linked::to(Arc::clone(&member)), rig.lease(&member));
    rig.pool.retire("a");
    tokio::time::sleep(3 * LOOK).await;
    drop(link);
    tokio::time::sleep(3 * LOOK).await;
    assert_eq!(rig.names(), ["a"]);
    drop(lease);
    rig.until_names(&[]).await;
    member.ended().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_back_in_time_is_the_same_and_there_are_never_two_of_a_name() {
    let rig = Rig::new(Storage::Own);
    let member = rig.come("a");
    let link = Linked::to(Arc::clone(&member));
    rig.pool.retire("a");
    assert!(!member.takes() && member.is_up());
    let (twin, _) = rig.member("a");
    assert!(!rig.pool.add(&twin), "it has not gone yet");
    assert!(rig.pool.recall("a") && rig.pool.recall("a") && member.takes());
    drop(link);
    tokio::time::sleep(3 * LOOK).await;
    assert_eq!(rig.pool.members()[0].id, member.id);
    rig.pool.retire("a");
    rig.until_names(&[]).await;
    assert!(!rig.pool.recall("a"), "it has gone");
    assert!(rig.pool.add(&twin));
    assert_ne!(rig.pool.members()[0].id, member.id);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_members_that_came_and_went_leave_nothing() {
    let rig = Rig::new(Storage::Own);
    let _stays = rig.come("stays");
    let mut seen: Vec<Weak<Member>> = Vec::new();
    let mut ids = Vec::new();
    for n in 0..1000 {
        let name = format!("10.0.0.1:{n}");
        let member = rig.come(&name);
        ids.push(member.id);
        seen.push(Arc::downgrade(&member));
        drop(member);
        rig.pool.retire(&name);
    }
    rig.until_names(&["stays"]).await;
    let fact = async {
        while rig.tasks.running() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), fact).await.expect("tasks are left");
    assert!(seen.iter().all(|weak| weak.strong_count() == 0));
    assert!(!rig.metrics.render().unwrap().contains("10.0.0.1"));
    ids.dedup();
    assert_eq!(ids.len(), 1000, "no number is used twice");
}

#[tokio::test(start_paused = true)]
async fn a_pool_is_not_whole_while_a_name_has_named_nobody_or_a_member_is_down() {
    let rig = Rig::new(Storage::Own);
    assert!(rig.pool.whole().is_none(), "nobody is there to know");
    let member = rig.come("a");
    assert!(rig.pool.whole().is_some());
    rig.pool.expect_names(1);
    assert!(rig.pool.whole().is_none() && !rig.pool.tried_all());
    rig.pool.name_tried();
    assert!(rig.pool.whole().is_none() && rig.pool.tried_all());
    rig.pool.name_resolved();
    assert!(rig.pool.whole().is_some());
    member.see(Seen::Gone);
    assert!(rig.pool.whole().is_none());
}
