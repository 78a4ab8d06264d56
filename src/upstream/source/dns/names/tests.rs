//! What follows from answers.

use proptest::prelude::*;

use super::*;
use crate::time;

const SECOND: Duration = Duration::from_secs(1);
const BOUNDS: Bounds = Bounds { min_ttl: SECOND, max_ttl: Duration::from_secs(60) };

fn names(ports: &[u16]) -> Names {
    Names::new(ports, BTreeSet::new(), BOUNDS)
}

fn ips(all: &[&str]) -> Said {
    Said::Addresses(all.iter().map(|ip| ip.parse().unwrap()).collect())
}

fn v4(all: &[&str]) -> Answer {
    Answer { v4: Some(ips(all)), v6: Some(Said::Nothing), ttl: 5 * SECOND }
}

fn none(said: Said) -> Answer {
    Answer { v4: Some(said.clone()), v6: Some(said), ttl: 5 * SECOND }
}

fn failed() -> Said {
    Said::Failed("timed out".into())
}

fn shown(all: &[SocketAddr]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

/// Who comes and who is retired.
fn step(names: &mut Names, answer: Answer) -> (Vec<String>, Vec<String>) {
    let step = names.heard(0, answer, time::now()).unwrap();
    (shown(&step.add), shown(&step.retire))
}

fn nothing() -> (Vec<String>, Vec<String>) {
    (vec![], vec![])
}

#[test]
fn members_are_the_addresses_of_the_last_answer() {
    let mut names = names(&[7]);
    assert_eq!(step(&mut names, v4(&["10.0.0.1"])), (vec!["10.0.0.1:7".into()], vec![]));
    assert_eq!(step(&mut names, v4(&["10.0.0.1", "10.0.0.1"])), nothing());
    let changed = step(&mut names, v4(&["10.0.0.2"]));
    assert_eq!(changed, (vec!["10.0.0.2:7".into()], vec!["10.0.0.1:7".into()]));
    let both = Answer { v6: Some(ips(&["::2", "::ffff:10.0.0.2"])), ..v4(&["10.0.0.2"]) };
    assert_eq!(step(&mut names, both), (vec!["[::2]:7".into()], vec![]));
    assert_eq!(step(&mut names, v4(&["10.0.0.2"])), (vec![], vec!["[::2]:7".into()]));
}

#[test]
fn an_answer_without_an_address_changes_nothing() {
    let mut names = names(&[7]);
    step(&mut names, v4(&["10.0.0.1"]));
    for said in [Said::Nothing, Said::NoSuchName, failed(), ips(&["0.0.0.0", "224.0.0.1"])] {
        assert_eq!(step(&mut names, none(said.clone())), nothing(), "{said:?}");
    }
}

#[test]
fn a_family_that_nobody_answers_for_keeps_what_it_has() {
    let mut names = names(&[7]);
    step(&mut names, Answer { v6: Some(ips(&["::1"])), ..v4(&["10.0.0.1"]) });
    let half = Answer { v6: Some(failed()), ..v4(&["10.0.0.2"]) };
    let heard = names.heard(0, half, time::now()).unwrap();
    assert_eq!(shown(&heard.retire), ["10.0.0.1:7"]);
    assert_eq!(heard.outcome, Outcome::Partly);
    let gone = Answer { v6: Some(Said::NoSuchName), ..v4(&["10.0.0.2"]) };
    assert_eq!(step(&mut names, gone), (vec![], vec!["[::1]:7".into()]));
}

#[test]
fn an_address_that_another_name_has_or_that_is_fixed_stays() {
    let fixed = ["10.0.0.9:7".parse().unwrap()].into();
    let mut names = Names::new(&[7, 7, 8], fixed, BOUNDS);
    let now = time::now();
    let both = v4(&["10.0.0.1", "10.0.0.9"]);
    assert_eq!(shown(&names.heard(0, both.clone(), now).unwrap().add), ["10.0.0.1:7"]);
    assert!(names.heard(1, both.clone(), now).unwrap().add.is_empty());
    let other_port = names.heard(2, both, now).unwrap();
    assert_eq!(shown(&other_port.add), ["10.0.0.1:8", "10.0.0.9:8"]);
    let other = v4(&["10.0.0.2"]);
    assert!(names.heard(0, other.clone(), now).unwrap().retire.is_empty());
    assert_eq!(shown(&names.heard(1, other, now).unwrap().retire), ["10.0.0.1:7"]);
    assert!(names.heard(3, v4(&["10.0.0.1"]), now).is_none());
}

#[test]
fn an_answer_holds_for_its_ttl_within_bounds() {
    let mut names = names(&[7]);
    let now = time::now();
    for (ttl, pause) in [(0, 1), (1, 1), (30, 30), (60, 60), (86400, 60)] {
        let answer = Answer { ttl: ttl * SECOND, ..v4(&["10.0.0.1"]) };
        assert_eq!(names.heard(0, answer, now).unwrap().next, now + pause * SECOND, "{ttl}");
    }
}

#[test]
fn what_comes_to_nothing_is_tried_again_ever_later_until_something_comes() {
    let mut names = names(&[7]);
    let now = time::now();
    let mut pause = |said: Said| {
        let next = names.heard(0, none(said), now).unwrap().next;
        next.saturating_duration_since(now).as_secs()
    };
    let pauses: Vec<u64> = (0..8).map(|_| pause(Said::NoSuchName)).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
    assert_eq!(pause(ips(&["10.0.0.1"])), 5);
    assert_eq!(pause(failed()), 1);
}

#[test]
fn news_is_told_once_for_each_change() {
    let mut names = names(&[7]);
    let mut told = |answer| {
        let step = names.heard(0, answer, time::now()).unwrap();
        (step.outcome, step.news, step.first, step.resolved)
    };
    assert_eq!(told(none(failed())), (Outcome::Failed, true, true, false));
    assert_eq!(told(none(failed())), (Outcome::Failed, false, false, false));
    assert_eq!(told(none(Said::Nothing)), (Outcome::Empty, true, false, false));
    assert_eq!(told(v4(&["10.0.0.1"])), (Outcome::Found, true, false, true));
    assert_eq!(told(v4(&["10.0.0.2"])), (Outcome::Found, false, false, false));
    assert_eq!(told(none(Said::NoSuchName)), (Outcome::NoSuchName, true, false, false));
    assert_eq!(told(v4(&["10.0.0.2"])), (Outcome::Found, true, false, false));
}

#[test]
fn no_more_addresses_count_than_may() {
    let mut names = names(&[7]);
    let all: Vec<String> = (0..300).map(|n| format!("10.0.{}.{}", n / 256, n % 256)).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let step = names.heard(0, v4(&all), time::now()).unwrap();
    assert_eq!((step.add.len(), step.addresses, step.too_many), (256, 256, 44));
}

fn said() -> impl Strategy<Value = Said> {
    let ips = prop::collection::vec(0u8..6, 0..5).prop_map(|last| {
        Said::Addresses(last.into_iter().map(|n| IpAddr::from([10, 0, 0, n])).collect())
    });
    prop_oneof![4 => ips, 1 => Just(Said::Nothing), 1 => Just(Said::NoSuchName), 1 => Just(failed())]
}

proptest! {
    /// The model: for each name the last answer that had an address.
    #[test]
    fn whoever_was_added_and_not_retired_is_in_a_last_answer_or_fixed(
        answers in prop::collection::vec((0usize..3, said()), 1..40)
    ) {
        let fixed: BTreeSet<SocketAddr> = ["10.0.0.0:7".parse().unwrap()].into();
        let mut names = Names::new(&[7, 7, 8], fixed.clone(), BOUNDS);
        let mut members = fixed.clone();
        let mut last: [BTreeSet<SocketAddr>; 3] = Default::default();
        for (number, said) in answers {
            let port = if number == 2 { 8 } else { 7 };
            if let Said::Addresses(all) = &said && !all.is_empty() {
                last[number] = all.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
            }
            let answer = Answer { v4: Some(said), v6: None, ttl: SECOND };
            let step = names.heard(number, answer, time::now()).unwrap();
            for gone in &step.retire {
                prop_assert!(members.remove(gone));
            }
            for new in &step.add {
                prop_assert!(members.insert(*new));
            }
            let meant: BTreeSet<_> = last.iter().flatten().chain(&fixed).copied().collect();
            prop_assert_eq!(&members, &meant);
        }
    }
}
