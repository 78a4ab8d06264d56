//! fairlead among slow, hasty, silent and dying clients and servers: no answer goes wrong, none hangs, nothing is sent twice.

#[path = "timing/ends.rs"]
mod ends;
#[path = "timing/pieces.rs"]
mod pieces;
#[path = "timing/retries.rs"]
mod retries;
#[path = "timing/slow.rs"]
mod slow;
#[path = "timing/streams.rs"]
mod streams;
#[path = "timing/two.rs"]
mod two;

use std::sync::{Arc, Condvar, Mutex};

use serde_json::Value;

use super::backend::{Backend, Closed, DEADLINE, Talk};
use super::client::{Answer, Client};
use super::peers::{self, Peer};
use super::reader::Head;

/// A backend with a script, and fairlead in front of it.
struct Bed {
    peer: Peer,
    backend: Backend,
}

fn bed(script: impl Fn(&Head, &mut Talk) -> Result<(), Closed> + Send + Sync + 'static) -> Bed {
    bed_of(peers::fairlead, script)
}

/// The same, with a fairlead that waits for nobody long.
fn hasty_bed(
    script: impl Fn(&Head, &mut Talk) -> Result<(), Closed> + Send + Sync + 'static,
) -> Bed {
    bed_of(peers::hasty_fairlead, script)
}

fn bed_of(
    start: fn(std::net::SocketAddr) -> Peer,
    script: impl Fn(&Head, &mut Talk) -> Result<(), Closed> + Send + Sync + 'static,
) -> Bed {
    let backend = Backend::start(move |head, talk| match head.target.starts_with("/innocent") {
        true => talk.echo(head),
        false => script(head, talk),
    });
    Bed { peer: start(backend.address), backend }
}

impl Bed {
    fn client(&self) -> Client {
        Client::connect(self.peer.h1)
    }

    /// Another client's request there and back: all that was sent to fairlead before has been read by then.
    fn innocent(&self) {
        let mut client = self.client();
        client.send("GET /innocent HTTP/1.1\r\nHost: edge\r\n\r\n");
        assert_eq!(client.answer("GET").unwrap().status, 200);
    }

    /// How often a request to this target came, whole or not.
    fn count(&self, target: &str) -> usize {
        let conns = self.backend.conns();
        conns.iter().flat_map(|c| &c.requests).filter(|r| r.head.target == target).count()
    }

    /// Waits until a request to this target has come, as far as this.
    fn until_seen(&self, target: &str, body: usize) {
        self.backend.until(&format!("{target} comes"), |conns| {
            let mut requests = conns.iter().flat_map(|c| &c.requests);
            requests.any(|r| r.head.target == target && r.body.len() >= body).then_some(())
        });
    }

    /// Waits until the connection that such a request came on is closed.
    fn until_closed(&self, target: &str) {
        self.backend.until(&format!("the connection of {target} closes"), |conns| {
            let of = |c: &&super::backend::Conn| c.requests.iter().any(|r| r.head.target == target);
            conns.iter().filter(of).all(|c| c.closed).then_some(())
        });
    }
}

/// Opened once; then nobody waits at it.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let closed = |open: &mut bool| !*open;
        let (open, _) =
            self.0.1.wait_timeout_while(self.0.0.lock().unwrap(), DEADLINE, closed).unwrap();
        assert!(*open, "the gate was not opened within {DEADLINE:?}");
    }
}

/// Goes up only.
#[derive(Clone, Default)]
struct Count(Arc<(Mutex<usize>, Condvar)>);

impl Count {
    fn add(&self) {
        *self.0.0.lock().unwrap() += 1;
        self.0.1.notify_all();
    }

    fn until(&self, all: usize) {
        let less = |count: &mut usize| *count < all;
        let (count, _) =
            self.0.1.wait_timeout_while(self.0.0.lock().unwrap(), DEADLINE, less).unwrap();
        assert!(*count >= all, "{count} of {all} within {DEADLINE:?}");
    }
}

/// `GET` of this target.
fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: edge\r\n\r\n")
}

/// Holds an answer of ours to its form: the reason, and that it says so in JSON.
fn assert_problem(answer: &Answer, status: u16, reason: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.field("content-type").as_deref(), Some("application/problem+json"));
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(problem["reason"], reason, "{problem}");
    assert!(problem["retryable"].is_boolean(), "{problem}");
}
