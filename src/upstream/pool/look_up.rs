//! Who has a session that the table does not know: all CLIs that are up are asked at once, when its turn comes.

use std::sync::Arc;

use super::Pool;
use super::gate::Next;
use crate::id::{SessionId, UpstreamId};
use crate::observe::shown::Shown;
use crate::session::table::{Sighting, Storage};
use crate::time;
use crate::upstream::ask::Reply;
use crate::upstream::member::Member;

/// What one CLI says of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Has {
    InMemory,
    OnDisk,
    Nothing,
    NoAnswer,
}

impl Pool {
    /// Asks for whose turn it is, in a task of its own, until nobody waits: the answers are the table's, whoever waits for
    /// them.
    pub(super) fn look_up(self: &Arc<Self>) {
        let pool = Arc::clone(self);
        self.tasks.spawn_aside("look_up", async move {
            let mut usher = pool.gate.usher();
            while let Some(next) = usher.next(time::now(), pool.with.lookup_wait) {
                let (session, sighting) = match next {
                    Next::In(session) => {
                        let sighting = pool.ask_for(&session).await;
                        (session, sighting)
                    }
                    Next::Late(session) => (session, Sighting::Unasked),
                };
                pool.looked_up(&session, sighting);
            }
        });
    }

    fn looked_up(&self, session: &SessionId, sighting: Sighting) {
        if sighting == Sighting::LiveTwice {
            tracing::error!(
                kind = "audit", action = "split_brain", pool = self.name, session_id = %Shown(session.as_str()),
                "two CLIs have this session in memory: it is left alone"
            );
        }
        self.change(|table| table.looked_up(session, sighting));
    }

    async fn ask_for(&self, session: &SessionId) -> Sighting {
        let mut up = Vec::new();
        let members = self.members();
        for member in members.iter().filter(|m| m.is_up()) {
            up.push((member.id, self.ask_member(member, session)));
        }
        let down = up.len() < members.len() || !self.misses_nobody();
        let mut answers = Vec::with_capacity(up.len());
        // Started in turn, awaited together: each has the same deadline.
        let mut asked = tokio::task::JoinSet::new();
        for (id, ask) in up {
            asked.spawn(async move { (id, ask.await) });
        }
        while let Some(answer) = asked.join_next().await {
            answers.extend(answer);
        }
        judge(&answers, down, self.with.storage)
    }

    fn ask_member(
        &self,
        member: &Arc<Member>,
        session: &SessionId,
    ) -> impl Future<Output = Has> + Send + 'static {
        let (member, limit) = (Arc::clone(member), self.with.lookup_timeout);
        let params = params_of(session);
        async move {
            let live = member.asker.ask("session.mode.get", params.clone(), limit);
            let disk = member.asker.ask("session.getMetadata", params, limit);
            let (live, disk) = tokio::join!(live, disk);
            match (live, disk) {
                (Ok(live), _) if in_memory(&live) == Some(true) => Has::InMemory,
                (Ok(_), Ok(disk)) if names_a_session(&disk) => Has::OnDisk,
                (Ok(live), Ok(_)) if in_memory(&live) == Some(false) => Has::Nothing,
                _ => Has::NoAnswer,
            }
        }
    }
}

/// The JSON text of the params that name a session.
pub(super) fn params_of(session: &SessionId) -> String {
    let mut params = String::from(r#"{"sessionId":"#);
    crate::error::push_json_string(&mut params, session.as_str());
    params.push('}');
    params
}

/// Whether the answer to `session.mode.get` says that the CLI has the session in memory; `None`: it says nothing of it.
pub(super) fn in_memory(reply: &Reply) -> Option<bool> {
    let has = reply.result().is_some();
    (has || reply.error().is_some_and(|e| e.contains("ession"))).then_some(has)
}

/// `session.getMetadata` answers `{}` where there is none.
fn names_a_session(reply: &Reply) -> bool {
    reply.result().is_some_and(|result| result.contains("\"sessionId\""))
}

fn judge(answers: &[(UpstreamId, Has)], down: bool, storage: Storage) -> Sighting {
    let who = |what| answers.iter().filter(move |(_, has)| *has == what).map(|(id, _)| *id);
    let on_disk: Vec<UpstreamId> = who(Has::OnDisk).collect();
    // One that answers knows a shared disk, and nothing of another's own.
    let unsure = match storage {
        Storage::Own => answers.is_empty() || who(Has::NoAnswer).next().is_some(),
        Storage::Shared => answers.iter().all(|(_, has)| *has == Has::NoAnswer),
    };
    match (who(Has::InMemory).collect::<Vec<_>>().as_slice(), on_disk.is_empty()) {
        ([live], _) => Sighting::Live(*live),
        ([_, _, ..], _) => Sighting::LiveTwice,
        ([], false) => Sighting::OnDisk(on_disk),
        ([], true) if unsure => Sighting::Unsure,
        ([], true) => Sighting::Nobody { down },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: UpstreamId = UpstreamId(1);
    const B: UpstreamId = UpstreamId(2);

    #[test]
    fn who_has_it_in_memory_comes_first() {
        let answers = [(A, Has::OnDisk), (B, Has::InMemory)];
        assert_eq!(judge(&answers, false, Storage::Shared), Sighting::Live(B));
        let answers = [(A, Has::InMemory), (B, Has::InMemory)];
        assert_eq!(judge(&answers, false, Storage::Shared), Sighting::LiveTwice);
    }

    #[test]
    fn a_cli_that_does_not_answer_may_have_it_where_storage_is_its_own() {
        let answers = [(A, Has::Nothing), (B, Has::NoAnswer)];
        assert_eq!(judge(&answers, false, Storage::Own), Sighting::Unsure);
        let nobody = Sighting::Nobody { down: false };
        assert_eq!(judge(&answers, false, Storage::Shared), nobody);
        let answers = [(A, Has::Nothing)];
        assert_eq!(judge(&answers, true, Storage::Own), Sighting::Nobody { down: true });
    }

    #[test]
    fn where_nobody_answers_nothing_is_known() {
        for storage in [Storage::Own, Storage::Shared] {
            assert_eq!(judge(&[], true, storage), Sighting::Unsure);
            assert_eq!(judge(&[(A, Has::NoAnswer)], false, storage), Sighting::Unsure);
        }
    }
}
