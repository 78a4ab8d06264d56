//! Requests that the fleet answers as one: asked over each CLI's `watch`, joined, never failed by one CLI that is gone.
//!
//! Whose part is missing is counted, and said in the log: never silently.

use std::sync::Arc;

use ahash::AHashMap;
use tokio::task::JoinSet;

use super::find::Home;
use super::{Pool, Visitor};
use crate::error::{Reason, Refusal};
use crate::id::{ConnId, SessionId, UpstreamId};
use crate::rpc::merge::{Ask, Made, Merge, Scatter, Single, Wrong, agree};
use crate::rpc::methods::{Method, Route};
use crate::rpc::mux::Ticket;
use crate::time::{self, Instant};
use crate::upstream::ask::NoAnswer;
use crate::upstream::hub::{Event, Joined};
use crate::upstream::member::Member;

/// Sessions that one request looks up at once: others come between.
const AT_ONCE: usize = 32;

/// Why a fleet's answer is none.
enum Failed {
    Wrong(Wrong),
    /// Not every CLI did it: the JSON text of the `error` member.
    Undone(String),
    Nobody,
}

/// Why a CLI's part is missing in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    /// It was not up.
    Down,
    /// It has no `watch`, or lost it.
    Gone,
    /// It took too long.
    Late,
    /// It answered with an error.
    Error,
    /// Its answer is not what the method gives.
    Unreadable,
}

impl Missing {
    const fn slug(self) -> &'static str {
        match self {
            Missing::Down => "down",
            Missing::Gone => "gone",
            Missing::Late => "late",
            Missing::Error => "error",
            Missing::Unreadable => "unreadable",
        }
    }
}

/// What one CLI said: a text per question.
struct Said {
    by: Arc<Member>,
    texts: Vec<String>,
}

impl Pool {
    /// Starts to ask; the answer comes to the conn's inbox as [`Event::Answered`]. `params`: their JSON text.
    pub fn ask_fleet(
        self: &Arc<Self>,
        conn: ConnId,
        ticket: Ticket,
        method: &'static Method,
        params: Option<String>,
        visitor: Arc<Visitor>,
    ) {
        let pool = Arc::clone(self);
        self.tasks.spawn_aside("fleet", async move {
            let answer = match method.route() {
                Route::Merge(merge) => pool.merge(merge, method, params.as_deref(), &visitor).await,
                Route::Single(single) => {
                    pool.single(single, method, params.as_deref(), &visitor).await
                }
                Route::Scatter(scatter) => {
                    pool.scatter(scatter, method, params.as_deref(), &visitor).await
                }
                Route::EveryOne => pool.change_all(method, params).await,
                Route::Connect
                | Route::Ping
                | Route::Create
                | Route::Resume
                | Route::Session
                | Route::Fork
                | Route::AnyOne(_)
                | Route::Local(_)
                | Route::Deny(_) => Err(Failed::Nobody),
            };
            let nobody = || Joined::Refused(Refusal::new(Reason::NoUpstream, "no CLI answered"));
            let answer = match answer {
                Ok(result) => Joined::Result(result),
                Err(Failed::Wrong(wrong)) => {
                    wrong.to_error(method.name).map_or_else(nobody, Joined::Error)
                }
                Err(Failed::Undone(error)) => Joined::Error(error),
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
        visitor: &Visitor,
    ) -> Result<String, Failed> {
        let said = self.ask_all(method, &merge.asks(method.name, params)).await;
        self.join(method, said, |said| merge.join(params, said, &|id| self.sees(visitor, id)))
    }

    async fn single(
        &self,
        single: Single,
        method: &'static Method,
        params: Option<&str>,
        visitor: &Visitor,
    ) -> Result<String, Failed> {
        let said = self.ask_all(method, &single.asks(params).map_err(Failed::Wrong)?).await;
        self.join(method, said, |said| single.join(params, said, &|id| self.sees(visitor, id)))
    }

    async fn scatter(
        self: &Arc<Self>,
        scatter: Scatter,
        method: &'static Method,
        params: Option<&str>,
        visitor: &Visitor,
    ) -> Result<String, Failed> {
        let until = time::now() + self.with.fleet_timeout;
        let mut ids = scatter.ids(params).map_err(Failed::Wrong)?;
        ids.retain(|id| self.sees(visitor, id.as_str()));
        let homes = self.homes_of(ids, until).await;
        // One that may be somewhere, where nobody can be asked, is a part of its own, without an answer.
        let home = |id: &str| -> Option<Option<UpstreamId>> {
            if !self.sees(visitor, id) {
                return None;
            }
            match homes.get(id.as_bytes()).copied().unwrap_or(Home::Unknown) {
                Home::Is(upstream) => Some(Some(upstream)),
                Home::Unknown => Some(None),
                Home::Nowhere => None,
            }
        };
        let split = scatter.split(method.name, params, &home).map_err(Failed::Wrong)?;
        let mut asked = JoinSet::new();
        let members: Vec<Option<Arc<Member>>> =
            split.parts().iter().map(|part| self.member(part.owner?)).collect();
        for (place, (part, member)) in split.parts().iter().zip(&members).enumerate() {
            if let Some(member) = member {
                let (member, ask) = (Arc::clone(member), part.ask.clone());
                asked.spawn(async move { (place, say(&member, &ask, until).await) });
            }
        }
        let mut said: Vec<Option<String>> = vec![None; split.parts().len()];
        while let Some(Ok((place, text))) = asked.join_next().await {
            if let (Err(why), Some(Some(member))) = (&text, members.get(place)) {
                self.leave_out(member, method, *why);
            }
            if let Some(slot) = said.get_mut(place) {
                *slot = text.ok();
            }
        }
        loop {
            let texts: Vec<Option<&str>> = said.iter().map(Option::as_deref).collect();
            let place = match split.join(&texts) {
                Ok(answer) => {
                    self.forget_deleted(split.deleted(&texts));
                    return Ok(answer);
                }
                Err(Wrong::Answer(place)) => place,
                Err(wrong) => return Err(Failed::Wrong(wrong)),
            };
            if let Some(Some(member)) = members.get(place) {
                self.leave_out(member, method, Missing::Unreadable);
            }
            match said.get_mut(place) {
                Some(slot) if slot.is_some() => *slot = None,
                Some(_) | None => return Err(Failed::Nobody),
            }
        }
    }

    /// Has every CLI that is up change, one change after the other: two at once would leave the CLIs unlike.
    async fn change_all(
        &self,
        method: &'static Method,
        params: Option<String>,
    ) -> Result<String, Failed> {
        let until = time::now() + self.with.fleet_timeout;
        let Ok(_alone) = tokio::time::timeout_at(until, self.changes.lock()).await else {
            return Err(Failed::Nobody);
        };
        let params = params.unwrap_or_else(|| "{}".to_owned());
        let all = self.members();
        let members: Vec<&Arc<Member>> = all.iter().filter(|m| m.is_up()).collect();
        let mut asked = JoinSet::new();
        for (place, member) in members.iter().enumerate() {
            let (member, params) = (Arc::clone(member), params.clone());
            asked.spawn(async move {
                let limit = until.saturating_duration_since(time::now());
                (place, member.asker.ask(method.name, params, limit).await)
            });
        }
        let mut made = vec![Made::Silent; members.len()];
        while let Some(Ok((place, answer))) = asked.join_next().await {
            let (one, why) = match answer {
                Ok(reply) => match reply.result() {
                    Some(result) => (Made::Done(result.to_owned()), None),
                    None => {
                        (Made::Refused(reply.error().unwrap_or_default()), Some(Missing::Error))
                    }
                },
                Err(NoAnswer::Gone) => (Made::Silent, Some(Missing::Gone)),
                Err(NoAnswer::Late) => (Made::Silent, Some(Missing::Late)),
            };
            if let (Some(member), Some(why)) = (members.get(place), why) {
                self.leave_behind(member, method, why);
            }
            if let Some(slot) = made.get_mut(place) {
                *slot = one;
            }
        }
        if made.is_empty() {
            return Err(Failed::Nobody);
        }
        agree(method.name, &made).map_err(Failed::Undone)
    }

    /// Who answers for each session, as far as that can be found out in time.
    async fn homes_of(
        self: &Arc<Self>,
        ids: Vec<SessionId>,
        until: Instant,
    ) -> AHashMap<SessionId, Home> {
        let mut homes = AHashMap::with_capacity(ids.len());
        let mut ids = ids.into_iter();
        let mut sought = JoinSet::new();
        loop {
            for id in ids.by_ref().take(AT_ONCE - sought.len()) {
                let pool = Arc::clone(self);
                sought.spawn(async move {
                    let home = tokio::time::timeout_at(until, pool.home_of(&id)).await;
                    (id, home.unwrap_or(Home::Unknown))
                });
            }
            match sought.join_next().await {
                Some(Ok((id, home))) => drop(homes.insert(id, home)),
                Some(Err(_)) => {}
                None => return homes,
            }
        }
    }

    /// The results of all CLIs that are up and answered everything, in the pool's order.
    async fn ask_all(&self, method: &'static Method, asks: &[Ask]) -> Vec<Said> {
        let until = time::now() + self.with.fleet_timeout;
        let members = self.members();
        let mut asked = JoinSet::new();
        for (place, member) in members.iter().enumerate() {
            if !member.is_up() {
                self.leave_out(member, method, Missing::Down);
                continue;
            }
            let (member, asks) = (Arc::clone(member), asks.to_vec());
            asked.spawn(async move {
                let mut texts = Vec::with_capacity(asks.len());
                for ask in &asks {
                    match say(&member, ask, until).await {
                        Ok(text) => texts.push(text),
                        Err(why) => return (place, Err(why)),
                    }
                }
                (place, Ok(texts))
            });
        }
        let mut all = Vec::new();
        while let Some(one) = asked.join_next().await {
            all.extend(one.ok());
        }
        all.sort_by_key(|(place, _)| *place);
        let said = |(place, texts)| {
            let by = Arc::clone(members.get(place)?);
            match texts {
                Ok(texts) => Some(Said { by, texts }),
                Err(why) => {
                    self.leave_out(&by, method, why);
                    None
                }
            }
        };
        all.into_iter().filter_map(said).collect()
    }

    /// Joins what was said, leaving out who did not say what the method gives.
    fn join(
        &self,
        method: &'static Method,
        mut said: Vec<Said>,
        join: impl Fn(&[&[&str]]) -> Result<String, Wrong>,
    ) -> Result<String, Failed> {
        while !said.is_empty() {
            let texts: Vec<Vec<&str>> =
                said.iter().map(|one| one.texts.iter().map(String::as_str).collect()).collect();
            let texts: Vec<&[&str]> = texts.iter().map(Vec::as_slice).collect();
            match join(&texts) {
                Ok(answer) => return Ok(answer),
                Err(Wrong::Answer(place)) if place < said.len() => {
                    self.leave_out(&said.remove(place).by, method, Missing::Unreadable);
                }
                Err(wrong) => return Err(Failed::Wrong(wrong)),
            }
        }
        Err(Failed::Nobody)
    }

    /// Says that this CLI was not changed as the others are.
    fn leave_behind(&self, member: &Member, method: &Method, why: Missing) {
        if member.may_complain(time::now()) {
            tracing::warn!(
                pool = self.name,
                upstream = member.name,
                method = method.name,
                reason = why.slug(),
                "a change that every CLI was asked to make was not made by this one"
            );
        }
    }

    /// Says that an answer goes out without what this CLI would have said.
    fn leave_out(&self, member: &Member, method: &Method, why: Missing) {
        member.metrics.left_out.inc(why.slug());
        // That it is down was said when it went down.
        if why != Missing::Down && member.may_complain(time::now()) {
            tracing::warn!(
                pool = self.name,
                upstream = member.name,
                method = method.name,
                reason = why.slug(),
                "an answer of the whole fleet goes out without this CLI's part"
            );
        }
    }
}

async fn say(member: &Member, ask: &Ask, until: Instant) -> Result<String, Missing> {
    let limit = until.saturating_duration_since(time::now());
    match member.asker.ask(ask.method, ask.params.clone(), limit).await {
        Ok(reply) => reply.result().map(str::to_owned).ok_or(Missing::Error),
        Err(NoAnswer::Gone) => Err(Missing::Gone),
        Err(NoAnswer::Late) => Err(Missing::Late),
    }
}
