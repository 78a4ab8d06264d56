//! Sessions that live as long as a client has them: deleted once nobody here has had one for a while.
//!
//! Whoever may leave a session to nobody puts it into the line ([`Due`]); when its time has come it is looked at again, and
//! deleted only if nobody came back. The table says so under the pool's lock (`session/table/delete.rs`). A session that
//! somebody else has, past us, is left alone until they leave it. That a CLI says that it deleted something proves nothing:
//! it is asked afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::AHashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::Pool;
use super::find::Home;
use super::look_up::params_of;
use crate::drain::Watcher;
use crate::id::{ConnId, SessionId, UpstreamId};
use crate::ledger::Class;
use crate::observe::shown::Shown;
use crate::session::table::{Hold, Storage};
use crate::time::{self, Duration, Instant};
use crate::upstream::member::Member;

/// Deletions of a pool that are under way at once.
const AT_ONCE: usize = 16;

/// Between the first two attempts at one session; doubles with each.
const AGAIN: Duration = Duration::from_millis(250);

/// Between two attempts, at most.
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);

/// The attempt that failed of which the log tells.
const COMPLAIN_AT: u32 = 6;

/// How long the line may be empty before it is looked at.
const NEVER: Duration = Duration::from_secs(3600);

/// The line of sessions that may have to be deleted, each in it once, by when.
#[derive(Default)]
pub(super) struct Due {
    line: Mutex<Line>,
    changed: Notify,
}

#[derive(Default)]
struct Line {
    /// With how often it was tried.
    by_time: BTreeMap<(Instant, u64), (SessionId, u32)>,
    places: AHashMap<SessionId, (Instant, u64)>,
    /// Conns that had a session when it ended by itself. As long as one is here, its client has not gone.
    ended: AHashMap<SessionId, Vec<ConnId>>,
    last: u64,
}

impl Due {
    /// Puts the session into the line, or forward in it.
    fn add(&self, session: &SessionId, at: Instant, tries: u32) {
        let mut line = self.line.lock();
        match line.places.get(session).copied() {
            Some(place) if place.0 <= at => return,
            Some(place) => drop(line.by_time.remove(&place)),
            None => {}
        }
        line.last += 1;
        let place = (at, line.last);
        line.by_time.insert(place, (session.clone(), tries));
        line.places.insert(session.clone(), place);
        drop(line);
        self.changed.notify_one();
    }

    /// The session ended under this conn.
    fn ended(&self, session: &SessionId, conn: ConnId) {
        let mut line = self.line.lock();
        let conns = line.ended.entry(session.clone()).or_default();
        if !conns.contains(&conn) {
            conns.push(conn);
        }
    }

    /// Whether the session ended under conns that were here when this was asked last.
    fn had_ended(&self, session: &SessionId, here: impl Fn(ConnId) -> bool) -> bool {
        let mut line = self.line.lock();
        let Some(conns) = line.ended.get_mut(session) else { return false };
        conns.retain(|conn| here(*conn));
        if conns.is_empty() {
            line.ended.remove(session);
        }
        true
    }

    /// Nobody need have it any more, or somebody has.
    fn clear(&self, session: &SessionId) {
        self.line.lock().ended.remove(session);
    }

    /// When the first one's time comes.
    fn first(&self) -> Option<Instant> {
        self.line.lock().by_time.keys().next().map(|(at, _)| *at)
    }

    /// Takes out the first one, if its time has come.
    fn take(&self, now: Instant) -> Option<(SessionId, u32)> {
        let mut line = self.line.lock();
        let first = line.by_time.first_entry().filter(|first| first.key().0 <= now)?;
        let (session, tries) = first.remove();
        line.places.remove(&session);
        Some((session, tries))
    }
}

/// What is to be done with a session after it was looked at.
enum Next {
    Nothing,
    /// Its time comes then.
    At(Instant),
    /// It cannot be done now.
    Later,
}

impl Pool {
    /// Whether the session is deleted when nobody has it.
    pub(super) fn is_ephemeral(&self, session: &SessionId) -> bool {
        let record = self.owners.as_ref().and_then(|o| o.ledger.get(&self.name, session));
        record.is_some_and(|record| record.class == Class::Ephemeral)
    }

    /// Takes note that somebody may have left the session to nobody.
    pub(super) fn note(&self, session: &SessionId, hold: Hold) {
        let since = match hold {
            Hold::Free { since, .. } => since,
            Hold::Changing => time::now(),
            // Who holds it says when that ends.
            Hold::Unknown | Hold::Held | Hold::Undeleted(_) => return,
        };
        if self.is_ephemeral(session) {
            self.due.add(session, since + self.with.ephemeral_grace, 0);
        }
    }

    /// Takes note of a session whose CLI ended it under a conn: the client has not gone, and may go on with it.
    pub(super) fn note_ended(&self, session: &SessionId, conn: ConnId) {
        if self.is_ephemeral(session) {
            self.due.ended(session, conn);
        }
    }

    /// Takes note of a session that is to be made: whoever makes it may never get that far.
    pub(super) fn note_made(&self, session: &SessionId, class: Class) {
        if class == Class::Ephemeral {
            self.due.add(session, time::now() + self.with.ephemeral_grace, 0);
        }
    }

    /// Deletes ephemeral sessions whose time has come, those of an earlier process too, until we leave: then what is begun
    /// ends, and the rest is done by the next process.
    pub async fn delete_ephemeral(self: Arc<Self>, mut watcher: Watcher) {
        let Some(owners) = &self.owners else { return };
        tokio::select! {
            _ = watcher.signalled() => return,
            () = self.settled() => {}
        }
        let left = owners.ledger.sessions_of(&self.name, |r| r.class == Class::Ephemeral);
        for session in left {
            self.note_made(&session, Class::Ephemeral);
        }
        let mut under_way = JoinSet::new();
        loop {
            let now = time::now();
            while under_way.len() < AT_ONCE
                && let Some((session, tries)) = self.due.take(now)
            {
                under_way.spawn(Arc::clone(&self).look_after(session, tries));
            }
            let full = under_way.len() >= AT_ONCE;
            let first = self.due.first().unwrap_or(now + NEVER);
            tokio::select! {
                _ = watcher.signalled() => break,
                Some(_) = under_way.join_next() => {}
                () = tokio::time::sleep_until(first), if !full => {}
                () = self.due.changed.notified(), if !full => {}
            }
        }
        tokio::select! {
            () = watcher.escalated() => {}
            () = async { while under_way.join_next().await.is_some() {} } => {}
        }
    }

    async fn look_after(self: Arc<Self>, session: SessionId, tries: u32) {
        let now = time::now();
        match self.delete_if_left(&session).await {
            Next::Nothing => {}
            Next::At(at) => self.due.add(&session, at, 0),
            Next::Later => {
                if tries == COMPLAIN_AT {
                    tracing::warn!(
                        pool = self.name, session_id = %Shown(session.as_str()),
                        "an ephemeral session cannot be deleted yet: its CLI does not answer, or somebody has it past us"
                    );
                }
                let pause = AGAIN.saturating_mul(1 << tries.min(16)).min(AGAIN_AT_MOST);
                self.due.add(&session, now + pause, tries.saturating_add(1));
            }
        }
    }

    /// Deletes the session, if it is ephemeral and nobody has had it for long enough.
    async fn delete_if_left(self: &Arc<Self>, session: &SessionId) -> Next {
        if !self.is_ephemeral(session) {
            self.due.clear(session);
            return Next::Nothing;
        }
        let mut hold = self.change(|table| table.hold(session));
        // Nobody has asked for it since this process began.
        let unasked = hold == Hold::Unknown;
        if unasked {
            if self.home_of(session).await == Home::Unknown {
                return Next::Later;
            }
            hold = self.change(|table| table.hold(session));
        }
        let end = |since| since + self.with.ephemeral_grace;
        let here = |conn| self.hub.has(conn);
        let upstream = match hold {
            Hold::Held => {
                self.due.clear(session);
                return Next::Nothing;
            }
            Hold::Changing => return Next::Later,
            Hold::Free { since, .. } if !unasked && end(since) > time::now() => {
                return Next::At(end(since));
            }
            // From when its client was seen to be gone.
            Hold::Free { .. } if self.due.had_ended(session, here) => {
                return Next::At(end(time::now()).max(time::now() + AGAIN));
            }
            Hold::Free { upstream, .. } => Some(upstream),
            Hold::Undeleted(upstream) => upstream,
            Hold::Unknown => None,
        };
        let Some(who) = self.who_deletes(upstream) else { return Next::Later };
        for member in who.iter() {
            if !self.is_idle_at(member, session).await {
                return Next::Later;
            }
        }
        if !self.change(|table| table.delete(session, hold, time::now())) {
            return Next::Later;
        }
        // What was asked for before may be done.
        let (mut gone, mut was_there) = (true, matches!(hold, Hold::Undeleted(_)));
        for member in who.iter() {
            let deleted = self.delete_at(member, session).await;
            gone &= deleted.is_some();
            was_there |= deleted == Some(true);
        }
        self.change(|table| table.delete_answered(session, gone));
        if !gone {
            return Next::Later;
        }
        self.disown(session);
        if !was_there {
            return Next::Nothing;
        }
        self.metrics.evicted.inc("ephemeral");
        let by = upstream.and_then(|id| self.member(id));
        let by = by.as_ref().map(|m| m.name.as_str());
        tracing::info!(
            kind = "audit", action = "delete", decision = "allow", reason = "ephemeral",
            pool = self.name, upstream = by, session_id = %Shown(session.as_str()), "deleted"
        );
        Next::Nothing
    }

    /// Who is asked to delete a session that this CLI has or had, or that any may have; `None`: one that must be asked is
    /// not up.
    fn who_deletes(&self, upstream: Option<UpstreamId>) -> Option<Arc<[Arc<Member>]>> {
        // One that has gone for good may have come back under another name.
        let home = upstream.and_then(|id| self.member(id));
        match (self.with.storage, home) {
            (_, Some(member)) if member.is_up() => Some([member].into()),
            (Storage::Shared, _) => {
                let any = self.any().and_then(|id| self.member(id))?;
                Some([any].into())
            }
            (Storage::Own, Some(_)) => None,
            (Storage::Own, None) => self.whole(),
        }
    }

    /// Whether the CLI says that it does not have the session in memory: nobody is attached to it there.
    async fn is_idle_at(&self, member: &Member, session: &SessionId) -> bool {
        let (params, limit) = (params_of(session), self.with.lookup_timeout);
        let live = member.asker.ask("session.mode.get", params, limit).await;
        live.is_ok_and(|live| says_not_found(live.error()))
    }

    /// Has the CLI delete the session, by its exact id: whether there was one. `None`: it may have it still.
    async fn delete_at(&self, member: &Member, session: &SessionId) -> Option<bool> {
        let (params, limit) = (params_of(session), self.with.lookup_timeout);
        // `session.delete` would take the beginning of an id.
        let answer = member.asker.ask("sessions.delete", params, limit).await.ok()?;
        let none =
            |error: String| error.ends_with(&format!("Session file not found for {session}"));
        let done = answer.result().is_some();
        let said = done || answer.error().is_some_and(none);
        (said && self.lacks(member, session).await).then_some(done)
    }

    /// What a create that came to nothing here may have come to on its CLI is deleted there, if that can be done at once:
    /// there was nothing in it yet. Meanwhile the table has it as being deleted.
    pub(super) fn unmake(self: &Arc<Self>, session: &SessionId, upstream: UpstreamId) {
        let (pool, session) = (Arc::clone(self), session.clone());
        self.tasks.spawn_aside("unmake", async move {
            if let Some(member) = pool.member(upstream) {
                pool.delete_at(&member, &session).await;
            }
            pool.change(|table| table.delete_answered(&session, true));
            pool.disown(&session);
        });
    }

    /// Whether the CLI has no session of this id, neither in memory nor on its disk, by its own words.
    pub(super) async fn lacks(&self, member: &Member, session: &SessionId) -> bool {
        let limit = self.with.lookup_timeout;
        let live = member.asker.ask("session.mode.get", params_of(session), limit);
        let disk = member.asker.ask("session.getMetadata", params_of(session), limit);
        let (Ok(live), Ok(disk)) = tokio::join!(live, disk) else { return false };
        let on_disk = |result: &str| result.contains("\"sessionId\"");
        says_not_found(live.error()) && disk.result().is_some_and(|result| !on_disk(result))
    }
}

fn says_not_found(error: Option<String>) -> bool {
    error.is_some_and(|error| error.contains("Session not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_session_is_in_the_line_once_at_its_earliest_time() {
        let (due, now) = (Due::default(), time::now());
        let (a, b) = (SessionId::new("a"), SessionId::new("b"));
        due.add(&a, now + 3 * AGAIN, 4);
        due.add(&b, now + 2 * AGAIN, 0);
        due.add(&a, now + AGAIN, 0);
        due.add(&b, now + 5 * AGAIN, 0);
        assert_eq!(due.first(), Some(now + AGAIN));
        assert_eq!(due.take(now), None);
        assert_eq!(due.take(now + AGAIN), Some((a, 0)));
        assert_eq!(due.take(now + AGAIN), None);
        assert_eq!(due.take(now + 9 * AGAIN), Some((b, 0)));
        assert_eq!((due.first(), due.take(now + 9 * AGAIN)), (None, None));
    }
}
