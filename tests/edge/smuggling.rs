//! Bytes that two readers may take for different requests: what came out behind the proxy is one unambiguous request, or none.
//!
//! `case` is the form of the table; each family is a file. The judge knows what the backend saw, never what the proxy says that it did.

#[path = "smuggling/case.rs"]
pub(crate) mod case;
#[path = "smuggling/chunks.rs"]
mod chunks;
#[path = "smuggling/codings.rs"]
mod codings;
#[path = "smuggling/heads.rs"]
mod heads;
#[path = "smuggling/hops.rs"]
mod hops;
#[path = "smuggling/hosts.rs"]
mod hosts;
#[path = "smuggling/judge.rs"]
mod judge;
#[path = "smuggling/lengths.rs"]
mod lengths;
#[path = "smuggling/lines.rs"]
mod lines;
#[path = "smuggling/marks.rs"]
mod marks;
#[path = "smuggling/two.rs"]
pub(crate) mod two;

use std::collections::BTreeMap;

use self::case::{Case, Meaning, Way};
use self::judge::{Bed, Verdict};
use super::backend::Backend;
use super::peers::{self, Peer};

/// The table: every family.
fn table() -> Vec<Case> {
    let families: [fn() -> Vec<Case>; 8] = [
        lengths::cases,
        codings::cases,
        lines::cases,
        chunks::cases,
        heads::cases,
        hosts::cases,
        hops::cases,
        two::cases,
    ];
    families.iter().flat_map(|family| family()).collect()
}

/// What became of each case at this peer.
fn run(start: fn(std::net::SocketAddr) -> Peer, cases: &[Case]) -> BTreeMap<String, Verdict> {
    let backend = Backend::start(judge::script);
    let peer = start(backend.address);
    let mut bed = Bed::new(peer.h1, peer.h2, &backend);
    let names = cases.iter().map(|case| case.name.clone());
    names.zip(bed.play(cases.iter())).collect()
}

#[test]
fn the_table_is_large_and_names_each_case_once() {
    let cases = table();
    let names: std::collections::BTreeSet<_> = cases.iter().map(|c| &c.name).collect();
    assert_eq!(names.len(), cases.len());
    assert!(cases.len() >= 200, "{}", cases.len());
}

#[test]
fn with_nothing_between_every_case_of_http1_that_is_to_be_refused_is_seen() {
    let backend = Backend::start(judge::script);
    let mut bed = Bed::new(backend.address, backend.address, &backend);
    let refused =
        |case: &Case| matches!(case.meaning, Meaning::Refused) && case.way == Way::Followed;
    let cases: Vec<Case> = table().into_iter().filter(|case| refused(case)).collect();
    let verdicts = bed.play(cases.iter());
    let unseen = cases.iter().zip(verdicts).filter(|(_, verdict)| verdict.fault.is_none());
    let unseen: Vec<_> = unseen.map(|(case, _)| &case.name).collect();
    assert_eq!(unseen, [""; 0]);
}

#[test]
fn what_comes_out_is_one_request_that_was_meant_or_none() {
    let cases = table();
    let all = &cases;
    let [ours, nginx, haproxy] = std::thread::scope(|scope| {
        let runs = [peers::fairlead, peers::nginx, peers::haproxy]
            .map(|s| scope.spawn(move || run(s, all)));
        runs.map(|run| run.join().unwrap())
    });
    let (mut wrong, mut lone) = (Vec::new(), Vec::new());
    for case in &cases {
        let (ours, nginx, haproxy) = (&ours[&case.name], &nginx[&case.name], &haproxy[&case.name]);
        if let Some(fault) = &ours.fault {
            wrong.push(format!("{}: {fault}\n  {}\n  saw {}", case.name, case.why, ours.saw));
        } else if ours.passed && !nginx.passed && !haproxy.passed && case.passes.is_none() {
            wrong.push(format!(
                "{}: passes here alone, and no reason is given; saw {}",
                case.name, ours.saw
            ));
        }
        for (name, peer) in [("nginx", nginx), ("HAProxy", haproxy)] {
            match &peer.fault {
                Some(fault) => lone.push(format!("{name}, {}: {fault}", case.name)),
                None if peer.passed && !ours.passed => {
                    lone.push(format!("{name}, {}: passes there", case.name))
                }
                None => {}
            }
        }
    }
    println!("For information, where peers differ:\n{}", lone.join("\n"));
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
