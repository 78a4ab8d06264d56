//! One conversation on one connection, how it went, and how two of them differ.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{OF_ANSWERS, OF_REQUESTS};
use crate::backend::{Backend, Conn, Request};
use crate::client::{Answer, Client, Gone};
use crate::reader::{Field, show};

/// What the client does next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Send(Vec<u8>),
    /// Reads a whole answer to a request with this method.
    Answer(&'static str),
    /// Waits for leave to send the body.
    Leave,
}

/// What may be otherwise at one peer, in one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum May {
    /// Interim answers are dropped.
    DropInterim,
    /// Trailers are dropped.
    DropTrailers,
    /// This field of the answer.
    Field(&'static str),
}

/// One row of the table.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) name: String,
    pub(super) steps: Vec<Step>,
    may: Vec<(&'static str, &'static [May], &'static str)>,
}

impl Exchange {
    pub(super) fn new(name: impl Into<String>, steps: Vec<Step>) -> Exchange {
        Exchange { name: name.into(), steps, may: Vec::new() }
    }

    /// Names what may be otherwise at a peer, and why.
    pub(super) fn at(
        mut self,
        peer: &'static str,
        may: &'static [May],
        why: &'static str,
    ) -> Exchange {
        self.may.push((peer, may, why));
        self
    }

    pub(super) fn may(&self, peer: &str) -> Vec<May> {
        let named = self.may.iter().filter(|(name, ..)| *name == peer);
        named.flat_map(|(_, may, _)| may.iter().copied()).collect()
    }

    pub(super) fn play(&self, address: SocketAddr, backend: &Backend) -> Outcome {
        let counts = |conns: &[Conn]| conns.iter().map(|c| c.requests.len()).collect();
        let before: Vec<usize> = backend.look(counts);
        let mut client = Client::connect(address);
        let mut outcome = Outcome::default();
        for step in &self.steps {
            match step {
                Step::Send(bytes) => drop(client.send(bytes)),
                Step::Answer(method) => outcome.answers.push(client.answer(method)),
                Step::Leave => outcome.answers.push(client.head()),
            }
        }
        backend.look(|conns| {
            for (conn, now) in conns.iter().enumerate() {
                let new = now.requests.iter().skip(before.get(conn).copied().unwrap_or(0));
                outcome.requests.extend(new.cloned());
            }
        });
        outcome.requests.sort_by(|a, b| a.head.target.cmp(&b.head.target));
        outcome
    }
}

/// What the client got, and what the backend saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    answers: Vec<Result<Answer, Gone>>,
    /// In the order of their targets: proxies may send pipelined ones over several connections.
    requests: Vec<Request>,
}

impl Outcome {
    pub(super) fn is_whole(&self) -> bool {
        self.answers.iter().all(Result::is_ok) && self.requests.iter().all(|r| r.complete)
    }

    /// How the other one differs, beyond what may.
    pub(super) fn differences<'a>(
        &'a self,
        other: &'a Outcome,
        may: &'a [May],
    ) -> impl Iterator<Item = String> + 'a {
        let mut all = Vec::new();
        if self.answers.len() != other.answers.len() || self.requests.len() != other.requests.len()
        {
            let of =
                |o: &Outcome| format!("{} answers, {} requests", o.answers.len(), o.requests.len());
            all.push(format!("{} became {}", of(self), of(other)));
        }
        for (one, other) in self.answers.iter().zip(&other.answers) {
            match (one, other) {
                (Ok(one), Ok(other)) => answers(one, other, may, &mut all),
                (one, other) if one == other => {}
                (_, other) => all.push(format!("the answer became {other:?}")),
            }
        }
        for (one, other) in self.requests.iter().zip(&other.requests) {
            requests(one, other, may, &mut all);
        }
        all.into_iter()
    }
}

fn answers(one: &Answer, other: &Answer, may: &[May], all: &mut Vec<String>) {
    if one.status != other.status {
        all.push(format!("status {} became {}: {}", one.status, other.status, show(&other.body)));
    }
    if one.before != other.before && !may.contains(&May::DropInterim) {
        all.push(format!("interim {:?} became {:?}", one.before, other.before));
    }
    bytes("body", &one.body, &other.body, all);
    if !may.contains(&May::DropTrailers) {
        fields("trailer", &one.trailers, &other.trailers, &[], &[], all);
    }
    fields("field", &one.fields, &other.fields, OF_ANSWERS, may, all);
    // The length is all that a HEAD or a 304 tells of the body.
    let length = |a: &Answer| a.field("content-length").filter(|_| a.body.is_empty());
    if let (Some(one), Some(other)) = (length(one), length(other))
        && one != other
    {
        all.push(format!("length {one} became {other}"));
    }
}

fn requests(one: &Request, other: &Request, may: &[May], all: &mut Vec<String>) {
    let line = |r: &Request| format!("{} {}", r.head.method, r.head.target);
    if line(one) != line(other) {
        all.push(format!("{} became {}", line(one), line(other)));
    }
    if one.complete != other.complete {
        all.push("the request was cut".to_owned());
    }
    bytes("request's body", &one.body, &other.body, all);
    if !may.contains(&May::DropTrailers) {
        fields("request's trailer", &one.trailers, &other.trailers, &[], &[], all);
    }
    fields("request's field", &one.head.fields, &other.head.fields, OF_REQUESTS, may, all);
}

fn bytes(what: &str, one: &[u8], other: &[u8], all: &mut Vec<String>) {
    if one == other {
        return;
    }
    let at = one.iter().zip(other).position(|(a, b)| a != b).unwrap_or(one.len().min(other.len()));
    all.push(format!(
        "{what} of {} bytes became {} bytes, other from {at}: {}",
        one.len(),
        other.len(),
        show(&other[at..])
    ));
}

/// Field by field: the order of the values of one name counts, that of names does not.
fn fields(
    what: &str,
    one: &[Field],
    other: &[Field],
    differing: &[(&str, &str)],
    may: &[May],
    all: &mut Vec<String>,
) {
    let (one, other) = (by_name(one), by_name(other));
    for name in one.keys().chain(other.keys().filter(|n| !one.contains_key(*n))) {
        let named = differing.iter().any(|(n, _)| n == name);
        let excepted = may.iter().any(|m| matches!(m, May::Field(n) if n == name));
        let (was, is) = (one.get(name), other.get(name));
        if was != is && !named && !excepted {
            all.push(format!("{what} {name}: {was:?} became {is:?}"));
        }
    }
}

fn by_name(fields: &[Field]) -> BTreeMap<String, Vec<String>> {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in fields {
        names.entry(name.to_ascii_lowercase()).or_default().push(show(value));
    }
    names
}

/// The same with one thing changed, for each thing that is compared.
pub(super) fn changes(outcome: &Outcome) -> Vec<Outcome> {
    let field = || ("x-changed".to_owned(), b"y".to_vec());
    let edits: [fn(&mut Answer, Field); 5] = [
        |a, _| a.status += 1,
        |a, _| a.body.push(b'x'),
        |a, f| a.fields.push(f),
        |a, f| a.trailers.push(f),
        |a, _| a.before.push(103),
    ];
    let requests: [fn(&mut Request, Field); 6] = [
        |r, _| r.head.method.push('X'),
        |r, _| r.head.target.push('x'),
        |r, _| r.body.push(b'x'),
        |r, f| r.head.fields.push(f),
        |r, f| r.trailers.push(f),
        |r, _| r.complete = false,
    ];
    let mut all = Vec::new();
    for edit in edits {
        let mut changed = outcome.clone();
        edit(changed.answers[0].as_mut().unwrap(), field());
        all.push(changed);
    }
    for edit in requests {
        let mut changed = outcome.clone();
        edit(&mut changed.requests[0], field());
        all.push(changed);
    }
    let mut less = outcome.clone();
    less.requests.clear();
    all.push(less);
    all
}
