//! One request: identify -> authorise -> place -> connect -> relay, and its answer, whoever gives it.

mod request;

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::{StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession as Exchange;
use tokio::time::timeout;

use self::request::Request;
use super::Place;
use super::body::{self, Stash, Stop};
use super::conn::{Client, GOODBYE};
use super::connect;
use super::guard::{Flaw, fields};
use super::headers::{self, Outward};
use super::io::Wire;
use super::problem::{Problem, seconds};
use super::relay::{self, Fault, Tally, With};
use super::report::{Asked, Ended, Report};
use crate::caller::{Caller, Owner, Proof};
use crate::error::{Reason, Refusal};
use crate::health::state::Seen;
use crate::identity::request::{Body, Named, Presented};
use crate::proxy::admit::Keys;
use crate::proxy::budget::Kept;
use crate::time;
use crate::upstream::pool::{Key, Picked, Pool, Tried};
use crate::wire::target;

/// What a request leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Its conn can carry another.
    Again,
    /// It was answered; its conn is of no more use.
    Last,
    /// Its answer broke off.
    Broken,
}

/// Carries one request through. `wire`: what the client's stream is told; `None`: HTTP/2. `cut`: ready when everything has to
/// end.
pub async fn carry(
    client: &Client,
    exchange: &mut Exchange,
    wire: Option<&Wire>,
    mut cut: Pin<&mut (impl Future<Output = ()> + Send)>,
) -> After {
    let mut report = Report::new(time::now(), None);
    let request = Request::of(client, exchange);
    report.from = request.from;
    let mut carried = Carried { client, exchange, wire, request, report: &mut report, met: false };
    let done = carried.go(cut.as_mut()).await;
    let ended = done.err().map(|ended| unanswered(ended, &report.tally));
    let after = match &ended {
        None if report.tally.upgraded => After::Last,
        None => After::Again,
        Some(Ended::Refused(problem)) => {
            if client.watcher.mode().is_some() {
                exchange.set_keepalive(None);
            }
            let challenge = client.challenge(problem);
            let told = if matches!(problem, Problem::Refused(Reason::Draining, _)) {
                // Everything may have to end already: it is the last word then.
                exchange.set_keepalive(None);
                timeout(GOODBYE, refuse(exchange, problem, challenge)).await == Ok(true)
            } else {
                tokio::select! {
                    biased;
                    told = refuse(exchange, problem, challenge) => told,
                    () = cut => false,
                }
            };
            match (told, exchange.is_body_done()) {
                (true, true) => After::Again,
                (true, false) => After::Last,
                (false, _) => After::Broken,
            }
        }
        Some(Ended::Broken(_)) => After::Broken,
    };
    let head = exchange.req_header();
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let asked = Asked {
        version: head.version,
        method: head.method.as_str(),
        host: host.or(head.uri.authority().map(|authority| authority.as_str())),
        path: head.uri.path(),
    };
    report.end(client, Some(asked), ended.as_ref());
    after
}

/// What broke off before anything was answered can still be answered.
fn unanswered(ended: Ended, tally: &Tally) -> Ended {
    match ended {
        Ended::Broken(fault) if tally.status.is_none() => match fault {
            Fault::UpstreamLost => Ended::Refused(Problem::Refused(Reason::UpstreamLost, None)),
            Fault::UpstreamTimeout => {
                Ended::Refused(Problem::Refused(Reason::UpstreamTimeout, None))
            }
            Fault::BadAnswer => Ended::Refused(Problem::BadAnswer),
            Fault::ClientTimeout => Ended::Refused(Problem::TooSlow),
            Fault::Flawed(flaw) => Ended::Refused(Problem::Flawed(flaw)),
            Fault::BodyTooLarge => Ended::Refused(Problem::BodyTooLarge),
            Fault::Cut => Ended::Refused(Problem::Refused(Reason::Draining, None)),
            Fault::ClientLost => Ended::Broken(fault),
        },
        Ended::Broken(_) | Ended::Refused(_) => ended,
    }
}

/// Answers a request ourselves. Returns whether that went out.
pub(super) async fn refuse(
    exchange: &mut Exchange,
    problem: &Problem,
    challenge: Option<&HeaderValue>,
) -> bool {
    let body = problem.body();
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = http::StatusCode::from_u16(problem.status()).unwrap_or_default();
    let json = HeaderValue::from_static("application/problem+json");
    parts.headers.insert(header::CONTENT_TYPE, json);
    parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(wait) = problem.retry_after() {
        parts.headers.insert(header::RETRY_AFTER, seconds(wait).into());
    }
    if let Some(challenge) = challenge {
        parts.headers.insert(header::WWW_AUTHENTICATE, challenge.clone());
    }
    if matches!(problem, Problem::Flawed(Flaw::Method)) {
        let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        parts.headers.insert(header::ALLOW, allowed);
    }
    let head: ResponseHeader = parts.into();
    if exchange.write_response_header(Box::new(head)).await.is_err() {
        return false;
    }
    exchange.write_response_body(body, true).await.is_ok()
}

struct Carried<'a> {
    client: &'a Client,
    exchange: &'a mut Exchange,
    wire: Option<&'a Wire>,
    request: Request,
    report: &'a mut Report,
    /// The client was told to go on with its body, or never will be.
    met: bool,
}

impl Carried<'_> {
    async fn go(
        &mut self,
        mut cut: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<(), Ended> {
        self.check()?;
        let caller = self.identify()?;
        self.authorise(&caller)?;
        let place = self.route()?;
        let pool = Arc::clone(&place.pool);
        let mut stash = tokio::select! {
            biased;
            stash = self.look_at_body() => stash?,
            () = cut.as_mut() => return Err(Ended::Broken(Fault::Cut)),
        };
        let key = self.key(&place.keys, &caller, &stash);
        let owner = Owner { realm: caller.realm.clone(), user: caller.user.clone() };
        self.report.caller = Some(caller);
        let mut tried = Tried::new();
        loop {
            let picked = tokio::select! {
                biased;
                picked = self.place(&pool, key.as_ref(), &owner, &tried) => picked?,
                () = cut.as_mut() => return Err(Ended::Broken(Fault::Cut)),
            };
            let again = self.attempt(&pool, &picked, &mut stash, cut.as_mut()).await?;
            let Some(again) = again else { return Ok(()) };
            if self.report.retries >= self.client.listener.with.retries {
                return Err(match again {
                    Again::Connect => Ended::Refused(Problem::Refused(Reason::NoUpstream, None)),
                    Again::Reused => Ended::Broken(Fault::UpstreamLost),
                });
            }
            self.report.retries += 1;
            self.client.listener.metrics.retries.inc(again.slug());
            if again == Again::Connect {
                tried.push(picked.member.id);
            }
        }
    }

    /// The head of the request.
    fn head(&self) -> &http::request::Parts {
        self.exchange.req_header()
    }

    /// What HTTP/2 has decoded, and what only this listener knows; HTTP/1 was checked before it was parsed.
    fn check(&self) -> Result<(), Ended> {
        let (parts, with) = (self.head(), &self.client.listener.with);
        if headers::takes_off(&parts.headers, &with.naming) {
            return Err(Ended::Refused(Problem::Flawed(Flaw::Connection)));
        }
        if parts.version != Version::HTTP_2 {
            return Ok(());
        }
        let bounds = &with.bounds;
        let path = self.exchange.req_header().raw_path();
        let checked = fields::check(&parts.method, &parts.uri, path, &parts.headers, bounds);
        checked.map(drop).map_err(|flaw| Ended::Refused(Problem::Flawed(flaw)))
    }

    /// Who calls.
    fn identify(&self) -> Result<Caller, Ended> {
        self.client.identify(self.head(), self.request.from).map_err(Ended::Refused)
    }

    /// Whether it may ask now.
    fn authorise(&self, caller: &Caller) -> Result<(), Ended> {
        self.client.charge(caller, self.request.from).map_err(Ended::Refused)
    }

    /// Where it is to go.
    fn route(&mut self) -> Result<Arc<Place>, Ended> {
        let routes = &self.client.listener.routes;
        let path = self.head().uri.path();
        if routes.depend_on_path() && !target::is_plain(path) {
            return Err(Ended::Refused(Problem::Path));
        }
        let place = Arc::clone(routes.find(self.request.host(), path));
        self.report.pool = Some(Arc::clone(&place.pool));
        Ok(place)
    }

    /// Reads the body, if who calls may be named in it.
    async fn look_at_body(&mut self) -> Result<Stash, Ended> {
        let with = &self.client.listener.with;
        if let (Some(length), Some(most)) = (self.request.length, with.max_body)
            && length > most
        {
            return Err(Ended::Refused(Problem::BodyTooLarge));
        }
        // HTTP/2 can say that a body is empty, and send one: nobody can take that back from an upstream.
        let hollow = self.request.has_body && self.request.length == Some(0);
        let kind = self.head().headers.get(header::CONTENT_TYPE);
        let may_be_json = kind.is_some_and(|kind| body::may_be_json(kind.as_bytes()));
        let looked_at = with.inspected.filter(|_| self.request.has_body && may_be_json);
        // HTTP/1.0 knows no interim answers, and Pingora's HTTP/2 sends none: nobody can be told to go on.
        self.met = self.head().version != Version::HTTP_11;
        let Some(bound) = looked_at.or(hollow.then_some(1)) else {
            return Ok(Stash::default());
        };
        if !self.met && self.head().headers.contains_key(header::EXPECT) {
            let kept = self.exchange.get_keepalive();
            let told = self.exchange.write_continue_response().await;
            told.map_err(|_| Ended::Broken(Fault::ClientLost))?;
            // Pingora takes an answer before the end of the body for the last one.
            self.exchange.set_keepalive(kept);
            self.met = true;
        }
        let deadline = time::now() + with.head_timeout;
        let kept = Kept::new(Arc::clone(&self.client.listener.buffered), self.client.id);
        let stash =
            body::read(self.exchange, bound, deadline, kept).await.map_err(|stop| match stop {
                Stop::Late => Ended::Refused(Problem::TooSlow),
                Stop::Broken => {
                    let flaw = self.wire.and_then(Wire::flaw);
                    Ended::Broken(flaw.map_or(Fault::ClientLost, Fault::Flawed))
                }
                Stop::Full => Ended::Refused(Problem::Refused(Reason::Overloaded, None)),
            })?;
        match with.max_body {
            Some(most) if stash.len() as u64 > most => Err(Ended::Refused(Problem::BodyTooLarge)),
            Some(_) | None => Ok(stash),
        }
    }

    /// By what it is placed: what is proven of its caller, and what it says itself.
    fn key(&self, keys: &Keys, caller: &Caller, stash: &Stash) -> Option<Key> {
        if keys.identity.is_empty() {
            return keys.of_named(caller, &Named::default());
        }
        let bound = self.client.listener.with.inspected.unwrap_or_default();
        let bytes = stash.joined();
        let body = bytes.get(..bound.min(bytes.len())).filter(|seen| !seen.is_empty());
        let body = body
            .map(|seen| Body { bytes: seen, whole: stash.is_whole && seen.len() == bytes.len() });
        let request = self.client.shows(self.head(), self.request.from, body);
        let (peer, sni) = (self.client.address(), self.client.sni());
        let presented = Presented { request: Some(request), peer, sni };
        keys.of_named(caller, &keys.named(&presented))
    }

    /// Where it goes.
    async fn place(
        &mut self,
        pool: &Arc<Pool>,
        key: Option<&Key>,
        owner: &Owner,
        tried: &Tried,
    ) -> Result<Picked, Ended> {
        let began = time::now();
        let picked = match self.aimed(pool, owner, tried) {
            Some(picked) => Ok(picked),
            None => {
                // What it still sends of its body says nothing of whether it waits.
                let waits = self.exchange.is_body_done();
                let mut pick = pin!(pool.pick(key.cloned(), owner.clone(), tried));
                let gone = tokio::select! {
                    biased;
                    picked = pick.as_mut() => Ok(picked),
                    idle = self.exchange.read_body_or_idle(true), if waits => Err(idle),
                };
                match gone {
                    Ok(picked) => picked,
                    Err(Err(error)) if relay::is_half(&error, self.wire) => {
                        let picked = timeout(self.client.listener.with.patience.half, pick).await;
                        picked.map_err(|_| Ended::Broken(Fault::ClientLost))?
                    }
                    Err(_) => return Err(Ended::Broken(Fault::ClientLost)),
                }
            }
        };
        self.report.queue = Some(time::now().saturating_duration_since(began));
        let refused = |refusal: Refusal| Ended::Refused(Problem::refused(&refusal));
        let picked = picked.map_err(refused)?;
        self.report.member = Some(Arc::clone(&picked.member));
        self.report.placed = Some(picked.reason);
        Ok(picked)
    }

    /// Where its cookie says that it belongs, if that one is up and was not tried.
    fn aimed(&self, pool: &Arc<Pool>, owner: &Owner, tried: &Tried) -> Option<Picked> {
        let affinity = self.client.listener.with.affinity.as_ref()?;
        let aim = affinity.aim(&self.head().headers, &pool.name, self.client.wall())?;
        let member = pool
            .members()
            .iter()
            .find(|member| member.name == aim.upstream)
            .map(|member| member.id)?;
        pool.pick_this(member, owner).filter(|picked| !tried.contains(&picked.member.id))
    }

    /// What its answer sets, so that it comes back to the same upstream.
    fn cookie(&self, pool: &Pool, picked: &Picked) -> Option<HeaderValue> {
        let affinity = self.client.listener.with.affinity.as_ref()?;
        let (now, name) = (self.client.wall(), &picked.member.name);
        let aim = affinity.aim(&self.head().headers, &pool.name, now);
        let holds = aim.is_some_and(|aim| aim.upstream == *name && !aim.is_old);
        if holds { None } else { affinity.set(&pool.name, name, now, self.client.tls.is_some()) }
    }

    /// Connects to an upstream and relays. `Some`: it may be tried again.
    async fn attempt(
        &mut self,
        pool: &Pool,
        picked: &Picked,
        stash: &mut Stash,
        mut cut: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<Option<Again>, Ended> {
        let settings = &self.client.listener.with;
        let Some(address) = picked.member.address() else { return Ok(Some(Again::Connect)) };
        let (way, tls) = ((picked.member.id, address), picked.member.way());
        let began = time::now();
        let connected = tokio::select! {
            biased;
            connected = connect::connect(way, tls, settings.connect_timeout) => connected,
            () = cut.as_mut() => return Err(Ended::Broken(Fault::Cut)),
        };
        let mut connected = match connected {
            Ok(connected) => connected,
            Err(error) => {
                self.failed(pool, picked, &error);
                return Ok(Some(Again::Connect));
            }
        };
        self.report.connect = Some(time::now().saturating_duration_since(began));
        // HTTP/1.0 need not say it, and HTTP/1.1 has to.
        let unsaid = match self.request.host {
            Some(_) => None,
            None => HeaderValue::from_str(&address.to_string()).ok(),
        };
        let outward = Outward {
            origin: &self.client.origin,
            from: self.request.from,
            host: self.request.host.as_ref().or(unsaid.as_ref()),
            framing: self.request.framing(stash),
            spoofable: &self.client.spoofable,
            affinity: settings.affinity.as_deref(),
            token_is_ours: self.report.caller.as_ref().is_some_and(|c| c.proof == Proof::Token),
            upgrade: self.request.upgrade,
            expectation_met: self.met,
        };
        let (head, traced) = headers::request(self.head(), &outward);
        self.report.traced = traced;
        let cookie = self.cookie(pool, picked);
        let with = With {
            wire: self.wire,
            outgoing: &connected.outgoing,
            max_body: settings.max_body,
            patience: settings.patience,
            may_repeat: connected.reused && self.request.is_idempotent(),
            upgrade: outward.upgrade,
            expectation_met: self.met,
            leaving: &self.client.watcher,
            cookie: cookie.as_ref(),
        };
        let (session, tally) = (&mut connected.session, &mut self.report.tally);
        let head = Box::new(head.into());
        let done = relay::relay(self.exchange, session, head, &with, stash, cut, tally).await;
        self.judge(pool, picked, &done);
        match done {
            Ok(true) => {
                connect::give_back(way, connected.session).await;
                Ok(None)
            }
            Ok(false) => Ok(None),
            Err(Fault::UpstreamLost) if connected.reused && self.may_repeat() => {
                Ok(Some(Again::Reused))
            }
            Err(fault) => {
                if self.report.tally.upgraded {
                    connected.break_off();
                } else {
                    connected.session.shutdown().await;
                }
                Err(Ended::Broken(fault))
            }
        }
    }

    /// Whether nothing of it was answered, and all of it can be sent again without harm.
    fn may_repeat(&self) -> bool {
        let tally = &self.report.tally;
        tally.status.is_none() && !tally.consumed && self.request.is_idempotent()
    }

    /// Takes note of how the upstream did, as far as that is its own doing.
    fn judge(&self, pool: &Pool, picked: &Picked, done: &Result<bool, Fault>) {
        let gateway = |status: StatusCode| matches!(status.as_u16(), 502..=504);
        match (done, self.report.tally.status) {
            (_, Some(status)) => pool.served(&picked.member, !gateway(status)),
            (Err(Fault::UpstreamLost | Fault::UpstreamTimeout | Fault::BadAnswer), None) => {
                pool.served(&picked.member, false);
            }
            (Ok(_) | Err(_), None) => {}
        }
    }

    fn failed(&self, pool: &Pool, picked: &Picked, error: &io::Error) {
        pool.served(&picked.member, false);
        picked.member.hint(Seen::LinkFailed);
        if picked.member.may_complain(time::now()) {
            tracing::warn!(upstream = picked.member.name, %error, "no connection to the upstream");
        }
    }
}

/// Why a request may be tried again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    /// Nobody was there.
    Connect,
    /// A kept connection had ended.
    Reused,
}

impl Again {
    const fn slug(self) -> &'static str {
        match self {
            Again::Connect => "connect",
            Again::Reused => "reused",
        }
    }
}
