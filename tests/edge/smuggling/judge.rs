//! Plays a case at a proxy, and judges by what the backend saw.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::case::{Case, Expected, Meaning, Way};
use super::marks;
use crate::backend::{Backend, Closed, Conn, DEADLINE, Request, Talk};
use crate::client::{Client, Gone};
use crate::reader::{Head, show};
use crate::smuggling::two;

/// After so much silence the client says that nothing more comes, where no answer has to.
const SILENCE: Duration = Duration::from_millis(300);

/// How long a proxy may take to let go of what it began.
const LETS_GO: Duration = Duration::from_secs(5);

/// Quiet for so long, nothing more is on its way.
const QUIET: Duration = Duration::from_millis(300);

/// What became of a case.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// A whole request came out of it.
    pub(crate) passed: bool,
    pub(crate) fault: Option<String>,
    /// For people.
    pub(crate) saw: String,
}

/// How the backend answers: with what it saw.
pub(crate) fn script(head: &Head, talk: &mut Talk) -> Result<(), Closed> {
    talk.echo(head)
}

/// What came of one case, as far as it is known.
#[derive(Clone, Default)]
struct Outcome {
    came: Vec<Request>,
    faults: Vec<String>,
}

/// One proxy and its backend, for case after case.
pub(crate) struct Bed<'a> {
    h1: SocketAddr,
    h2: SocketAddr,
    backend: &'a Backend,
    /// So many requests of each connection, and faults, are told already.
    told: Vec<(usize, bool)>,
}

impl<'a> Bed<'a> {
    /// What is asked here, in HTTP/1 and in h2, reaches this backend.
    pub(crate) fn new(h1: SocketAddr, h2: SocketAddr, backend: &'a Backend) -> Bed<'a> {
        Bed { h1, h2, backend, told: Vec::new() }
    }

    /// One after the other, because the connections to the backend are all cases' own.
    pub(crate) fn play<'c>(&mut self, cases: impl Iterator<Item = &'c Case>) -> Vec<Verdict> {
        let cases: Vec<&Case> = cases.collect();
        let mut outcomes = vec![Outcome::default(); cases.len()];
        for (number, case) in cases.iter().enumerate() {
            self.send(case, number);
            outcomes[number].faults.extend(self.innocents(number));
            outcomes[number].faults.extend(self.lets_go());
            self.collect(number, &mut outcomes);
        }
        self.backend.within(QUIET, |_| None::<()>);
        self.collect(cases.len() - 1, &mut outcomes);
        cases.iter().zip(outcomes).map(|(case, outcome)| outcome.verdict(case)).collect()
    }

    fn send(&self, case: &Case, number: usize) {
        let patience = if matches!(case.meaning, Meaning::One(_)) { DEADLINE } else { SILENCE };
        let bytes = marks::put(&case.bytes, number);
        let behind = marks::put(b"/behind", number);
        if case.way == Way::Frames {
            return two::send(self.h2, &bytes, &behind, patience);
        }
        let mut client = Client::connect(self.h1).patience(patience);
        if case.way == Way::Open {
            client.send(&bytes);
            client.finish();
        } else {
            let rest = b" HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n";
            client.send([&bytes, &b"GET "[..], &behind, rest].concat());
        }
        if client.until_end().1 == Err(Gone::Silent) {
            client.finish();
            // However it ends: the backend's view counts.
            let _ = client.patience(LETS_GO).until_end();
        }
    }

    /// Two who come after it get their own answers.
    fn innocents(&self, number: usize) -> Option<String> {
        let mut client = Client::connect(self.h1);
        for nth in 0..2 {
            let target = format!("/innocent/{number}/{nth}");
            client.send(format!("GET {target} HTTP/1.1\r\nHost: edge\r\n\r\n"));
            let answer = match client.answer("GET") {
                Ok(answer) => answer,
                Err(gone) => return Some(format!("an innocent one got {gone:?}")),
            };
            let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            if answer.status != 200 || told["target"] != target.as_str() {
                return Some(format!("an innocent one got {}: {}", answer.status, answer.text()));
            }
        }
        None
    }

    /// A connection with half a request on it is closed: nothing else may ever go over it.
    fn lets_go(&self) -> Option<String> {
        let half = |c: &Conn| !c.closed && c.requests.last().is_some_and(|r| !r.complete);
        let none = self.backend.within(LETS_GO, |conns| (!conns.iter().any(half)).then_some(()));
        none.is_none().then(|| "a connection with half a request on it stays open".to_owned())
    }

    /// Gives what came since the last time, innocent ones aside, to the cases that it is of: by its mark, else this one.
    fn collect(&mut self, number: usize, outcomes: &mut [Outcome]) {
        self.backend.look(|conns| {
            self.told.resize(conns.len(), (0, false));
            for (conn, (requests, fault)) in conns.iter().zip(&mut self.told) {
                let settled = |r: &&Request| r.complete || conn.closed;
                let new = conn.requests.iter().skip(*requests).take_while(settled);
                for request in new {
                    *requests += 1;
                    let target = request.head.target.as_bytes();
                    if !target.starts_with(b"/innocent/") {
                        let of = marks::find(target).unwrap_or(number);
                        outcomes[of].came.push(marks::taken_off(request));
                    }
                }
                if let (Some(what), false) =
                    (&conn.fault, std::mem::replace(fault, conn.fault.is_some()))
                {
                    let of = marks::find(&conn.bytes).unwrap_or(number);
                    outcomes[of].faults.push(format!("the backend got what is no request: {what}"));
                }
            }
        });
    }
}

impl Outcome {
    fn verdict(mut self, case: &Case) -> Verdict {
        self.faults.extend(judge(case, &self.came));
        Verdict {
            passed: self.came.iter().any(|r| r.complete && !is_behind(r)),
            fault: (!self.faults.is_empty()).then(|| self.faults.join("; ")),
            saw: self.came.iter().map(tell).collect::<Vec<_>>().join(" | "),
        }
    }
}

fn is_behind(request: &Request) -> bool {
    request.head.target == "/behind"
}

fn tell(request: &Request) -> String {
    let fields = request.head.fields.iter().map(|(n, v)| format!("{n}: {}", show(v)));
    let fields = fields.collect::<Vec<_>>().join(", ");
    let end = if request.complete { "" } else { " (cut)" };
    let (method, target) = (&request.head.method, &request.head.target);
    format!(
        "{method} {} [{}] {:?}{end}",
        show(target.as_bytes()),
        show(fields.as_bytes()),
        show(&request.body)
    )
}

/// What is wrong with this as the outcome of the case.
fn judge(case: &Case, came: &[Request]) -> Vec<String> {
    let mut faults = Vec::new();
    let (behind, own): (Vec<_>, Vec<_>) = came.iter().partition(|r| is_behind(r));
    let (complete, cut): (Vec<_>, Vec<_>) = own.into_iter().partition(|r| r.complete);
    let (meant, must, alone) = match &case.meaning {
        Meaning::Refused => (None, false, true),
        Meaning::Alone => (None, false, false),
        Meaning::One(expected) => (Some(expected), true, false),
        Meaning::Either(expected) => (Some(expected), false, false),
        Meaning::Last(expected) => (Some(expected), false, true),
    };
    match (meant, &complete[..]) {
        (None, []) => {}
        (Some(_), []) if !must => {}
        (Some(_), []) => faults.push("was refused, and is a request".to_owned()),
        (Some(expected), [request]) => faults.extend(differs(expected, request)),
        (_, more) => faults.push(format!("{} requests came out of it", more.len())),
    }
    if alone && !behind.is_empty() {
        faults.push("what is behind it passed, and nobody can know where it begins".to_owned());
    }
    // Half of a second one may come behind a first that is whole: it is refused in its middle.
    let stray = |r: &&&Request| r.head.target != "/second" && !complete.is_empty();
    if behind.len() > 1 || cut.len() > 1 || cut.iter().any(|r| stray(&r)) {
        faults.push("more requests came out than went in".to_owned());
    }
    for request in complete.iter().chain(&cut) {
        let has = |what: &&&str| has(request, what);
        faults.extend(case.lacks.iter().filter(has).map(|n| format!("{n} came out")));
        faults
            .extend(case.keeps.iter().filter(|n| !has(n)).map(|n| format!("{n} did not come out")));
    }
    faults
}

/// Whether there is a field of this name, or, with `name: word`, one with this word in it.
fn has(request: &Request, what: &str) -> bool {
    let (name, word) = what.split_once(": ").unwrap_or((what, ""));
    let values = request.head.all(name);
    values.iter().any(|value| show(value).to_ascii_lowercase().contains(word))
}

/// How it differs from what was meant.
fn differs(expected: &Expected, request: &Request) -> Option<String> {
    let head = &request.head;
    let absolute = format!("http://{}{}", expected.host, expected.target);
    let same = head.method == expected.method
        && (head.target == expected.target || head.target == absolute)
        && head.one("host").is_none_or(|host| host == expected.host)
        && request.body == expected.body;
    (!same).then(|| format!("not what was meant, which is {} {}", expected.method, expected.target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::{Field, Framing};
    use crate::smuggling::case::post;

    fn request(method: &str, target: &str, body: &str) -> Request {
        let fields: Vec<Field> = vec![("Host".to_owned(), b"edge".to_vec())];
        let (method, target) = (method.to_owned(), target.to_owned());
        let framing = Framing::Length(body.len() as u64);
        let head = Head { method, target, minor: 1, fields, framing };
        Request { head, body: body.into(), trailers: Vec::new(), complete: true }
    }

    fn faults(meaning: Meaning, came: &[Request]) -> usize {
        judge(&Case::new("x", "", meaning, ""), came).len()
    }

    #[test]
    fn what_was_meant_is_well_and_what_is_hidden_in_it_is_not() {
        let meant = || post("hello");
        let own = request("POST", "/case", "hello");
        let behind = request("GET", "/behind", "");
        let both = [own.clone(), behind.clone()];
        for meaning in [Meaning::One(meant()), Meaning::Either(meant())] {
            assert_eq!(faults(meaning.clone(), &both), 0);
            for other in [
                request("GET", "/case", "hello"),
                request("POST", "/hidden", "hello"),
                request("POST", "/case", "hell"),
            ] {
                assert_eq!(faults(meaning.clone(), std::slice::from_ref(&other)), 1, "{other:?}");
                assert_eq!(faults(meaning.clone(), &[own.clone(), other.clone()]), 1, "{other:?}");
            }
        }
        assert_eq!(faults(Meaning::One(meant()), &[]), 1);
        assert_eq!(faults(Meaning::Either(meant()), &[]), 0);
        assert_eq!(faults(Meaning::Last(meant()), &both[..1]), 0);
        assert_eq!(faults(Meaning::Last(meant()), &both), 1);
        assert_eq!(faults(Meaning::Refused, &[]), 0);
        assert_eq!(faults(Meaning::Refused, &both[..1]), 1);
        assert_eq!(faults(Meaning::Refused, &both[1..]), 1);
        assert_eq!(faults(Meaning::Alone, &both[1..]), 0);
        assert_eq!(faults(Meaning::Alone, &both), 1);
        let half = Request { complete: false, ..own.clone() };
        assert_eq!(faults(Meaning::Refused, std::slice::from_ref(&half)), 0);
        assert_eq!(faults(Meaning::Either(meant()), &[own, half]), 1);
        assert_eq!(faults(Meaning::Either(meant()), &[behind.clone(), behind]), 1);
    }

    #[test]
    fn names_that_may_not_come_out_or_must_are_looked_for() {
        let case = || Case::new("x", "", Meaning::Either(post("")), "");
        let mut came = request("POST", "/case", "");
        came.head.fields.push(("X-Spoken".to_owned(), b"one, Two".to_vec()));
        let came = [came];
        assert_eq!(judge(&case().lacks(&["x-spoken"]), &came).len(), 1);
        assert_eq!(judge(&case().lacks(&["x-spoken: two"]), &came).len(), 1);
        assert_eq!(judge(&case().lacks(&["x-spoken: three", "x"]), &came).len(), 0);
        assert_eq!(judge(&case().keeps(&["host", "x-spoken"]), &came).len(), 0);
        assert_eq!(judge(&case().keeps(&["x-other"]), &came).len(), 1);
    }
}
