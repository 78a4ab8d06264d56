//! Requests that the fleet answers as one: asked over each CLI's `watch`, joined, never failed by one CLI that is gone.

use std::sync::Arc;

use super::Pool;
use crate::error::{Reason, Refusal};
use crate::id::{ConnId, SessionId, UpstreamId};
use crate::rpc::merge::{Ask, Merge, Scatter, Single, Wrong};
use crate::rpc::methods::{Method, Route};
use crate::rpc::mux::Ticket;
use crate::upstream::hub::{Event, Joined};
use crate::upstream::member::Member;

/// Why a fleet's answer is none.
enum Failed {
    Wrong(Wrong),
    Nobody,
}

impl Pool {
    /// Starts to ask; the answer comes to the conn's inbox as [`Event::Answered`]. `params`: their JSON text.
    pub fn ask_fleet(
        self: &Arc<Self>,
        conn: ConnId,
        ticket: Ticket,
        method: &'static Method,
        params: Option<String>,
    ) {
        let pool = Arc::clone(self);
        self.tasks.spawn_aside("fleet", async move {
            let answer = match method.route() {
                Route::Merge(merge) => pool.merge(merge, method, params.as_deref()).await,
                Route::Single(single) => pool.single(single, params.as_deref()).await,
                Route::Scatter(scatter) => pool.scatter(scatter, method, params.as_deref()).await,
                Route::Connect
                | Route::Ping
                | Route::Create
                | Route::Resume
                | Route::Session
                | Route::Fork
                | Route::AnyOne
                | Route::Local(_)
                | Route::Deny(_) => Err(Failed::Nobody),
            };
            let nobody = || Joined::Refused(Refusal::new(Reason::NoUpstream, "no CLI answered"));
            let answer = match answer {
                Ok(result) => Joined::Result(result),
                Err(Failed::Wrong(wrong)) => {
                    wrong.to_error(method.name).map_or_else(nobody, Joined::Error)
                }
                Err(Failed::Nobody) => nobody(),
            };
            pool.hub.tell(conn, Event::Answered(ticket, answer));
        });
    }

    async fn merge(
        &self,
        merge: Merge,
        method: &'static Method,
        params: Option<&str>,
    ) -> Result<String, Failed> {
        let said = self.ask_all(&merge.asks(method.name, params)).await;
        join(said, |said| merge.join(params, said, &|_| true))
    }

    async fn single(&self, single: Single, params: Option<&str>) -> Result<String, Failed> {
        let said = self.ask_all(&single.asks(params).map_err(Failed::Wrong)?).await;
        join(said, |said| single.join(params, said, &|_| true))
    }

    async fn scatter(
        &self,
        scatter: Scatter,
        method: &'static Method,
        params: Option<&str>,
    ) -> Result<String, Failed> {
        let owner = |id: &str| -> Option<UpstreamId> {
            let upstream = self.decisions.lock().table.upstream_of(&SessionId::new(id))?;
            self.member(upstream).filter(|m| m.is_up()).map(|m| m.id)
        };
        let split = scatter.split(method.name, params, &owner).map_err(Failed::Wrong)?;
        let mut asked = tokio::task::JoinSet::new();
        for (place, part) in split.parts().iter().enumerate() {
            if let Some(member) = self.member(part.owner).cloned() {
                let (ask, limit) = (part.ask.clone(), self.with.lookup_timeout);
                asked.spawn(async move { (place, say(&member, &ask, limit).await) });
            }
        }
        let mut said: Vec<Option<String>> = vec![None; split.parts().len()];
        while let Some(Ok((place, text))) = asked.join_next().await {
            if let Some(slot) = said.get_mut(place) {
                *slot = text;
            }
        }
        let said: Vec<Option<&str>> = said.iter().map(Option::as_deref).collect();
        split.join(&said).map_err(Failed::Wrong)
    }

    /// The results of all CLIs that are up and answered everything, in the pool's order.
    async fn ask_all(&self, asks: &[Ask]) -> Vec<Vec<String>> {
        let mut asked = tokio::task::JoinSet::new();
        for (place, member) in self.members.iter().enumerate().filter(|(_, m)| m.is_up()) {
            let (member, asks) = (Arc::clone(member), asks.to_vec());
            let limit = self.with.lookup_timeout;
            asked.spawn(async move {
                let mut said = Vec::with_capacity(asks.len());
                for ask in &asks {
                    said.push(say(&member, ask, limit).await?);
                }
                Some((place, said))
            });
        }
        let mut all = Vec::new();
        while let Some(one) = asked.join_next().await {
            all.extend(one.ok().flatten());
        }
        all.sort_by_key(|(place, _)| *place);
        all.into_iter().map(|(_, said)| said).collect()
    }
}

async fn say(member: &Member, ask: &Ask, limit: std::time::Duration) -> Option<String> {
    let reply = member.asker.ask(ask.method, ask.params.clone(), limit).await.ok()?;
    reply.result().map(str::to_owned)
}

/// Joins what was said, leaving out who did not say what the method gives.
fn join(
    mut said: Vec<Vec<String>>,
    join: impl Fn(&[&[&str]]) -> Result<String, Wrong>,
) -> Result<String, Failed> {
    while !said.is_empty() {
        let texts: Vec<Vec<&str>> =
            said.iter().map(|one| one.iter().map(String::as_str).collect()).collect();
        let texts: Vec<&[&str]> = texts.iter().map(Vec::as_slice).collect();
        match join(&texts) {
            Ok(answer) => return Ok(answer),
            Err(Wrong::Answer(place)) if place < said.len() => {
                said.remove(place);
            }
            Err(wrong) => return Err(Failed::Wrong(wrong)),
        }
    }
    Err(Failed::Nobody)
}
