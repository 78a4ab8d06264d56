//! Members of a real pool follow what names say.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;

use super::names::Bounds;
use super::*;
use crate::caller::{Owner, Realm};
use crate::health::state::Seen;
use crate::session::table::Storage;
use crate::time::Duration;
use crate::upstream::pool::Picked;
use crate::upstream::pool::bench::Bench;

const TTL: Duration = Duration::from_secs(5);

struct Rig {
    bench: Arc<Bench>,
    pool: Arc<Pool>,
    following: Arc<Following>,
}

fn rig() -> Rig {
    let bench = Arc::new(Bench::new(Storage::Own));
    let bounds = Bounds { min_ttl: Duration::from_secs(1), max_ttl: Duration::from_secs(60) };
    let (of, pool) = (Arc::clone(&bench), Arc::clone(&bench.pool));
    let join = move |address: SocketAddr, _: usize| {
        let (member, _) = of.member(&address.to_string(), Some(address));
        member.see(Seen::Answered);
        assert!(of.pool.add(&member), "there would be two");
    };
    let names = Names::new(&[7], BTreeSet::new(), bounds);
    let following = Following::new(Arc::clone(&pool), vec!["n".into()], names, Box::new(join));
    Rig { bench, pool, following }
}

fn answer(last: &[u8]) -> Answer {
    let ips = last.iter().map(|n| IpAddr::from([10, 0, 0, *n])).collect();
    Answer { v4: Some(Said::Addresses(ips)), v6: None, ttl: TTL }
}

impl Rig {
    fn hears(&self, answer: Answer) {
        self.following.heard(0, "n", answer).unwrap();
    }

    fn members(&self) -> BTreeSet<String> {
        self.pool.members().iter().map(|m| m.name.clone()).collect()
    }

    fn work_on(&self, name: &str) -> Option<Picked> {
        let members = self.pool.members();
        let member = members.iter().find(|m| m.name == name)?;
        self.pool.pick_this(member.id, &Owner { realm: Realm::Common, user: None })
    }
}

fn named(last: &[u8]) -> BTreeSet<String> {
    last.iter().map(|n| format!("10.0.0.{n}:7")).collect()
}

/// Lets those go who may.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}

#[tokio::test(start_paused = true)]
async fn a_name_is_asked_for_when_its_answer_runs_out() {
    let rig = rig();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let began = time::now();
    let to = Arc::clone(&asked);
    let look = move |host: String| {
        let mut asked = to.lock();
        asked.push((host, (time::now() - began).as_secs()));
        // Two answers, then none.
        let none = Answer { v4: Some(Said::NoSuchName), v6: None, ttl: TTL };
        let said = if asked.len() < 3 { answer(&[1]) } else { none };
        std::future::ready(said)
    };
    let following = Arc::clone(&rig.following).follow(0, look);
    let _ = tokio::time::timeout(Duration::from_secs(18), following).await;
    let times: Vec<u64> = asked.lock().iter().map(|(_, at)| *at).collect();
    assert_eq!(times, [0, 5, 10, 11, 13, 17]);
    assert!(asked.lock().iter().all(|(host, _)| host == "n"));
    assert_eq!(rig.members(), named(&[1]), "no answer changes nothing");
    let count = |result| {
        rig.bench.shows(&format!(r#"fairlead_dns_lookups_total{{pool="p",result="{result}"}}"#))
    };
    assert_eq!((count("found"), count("no_such_name")), (Some(2.0), Some(4.0)));
}

#[tokio::test(start_paused = true)]
async fn a_pool_is_named_once_each_name_was_asked_for_and_one_has_an_address() {
    let rig = rig();
    let nothing = Answer { v4: Some(Said::Nothing), v6: None, ttl: TTL };
    let named = async || tokio::time::timeout(TTL, rig.pool.named()).await.is_ok();
    assert!(!named().await);
    rig.hears(nothing);
    assert!(!named().await);
    rig.hears(answer(&[1]));
    assert!(named().await);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_comes_back_while_something_lives_on_it_is_the_same() {
    let rig = rig();
    rig.hears(answer(&[1]));
    let work = rig.work_on("10.0.0.1:7").unwrap();
    rig.hears(answer(&[2]));
    settle().await;
    assert_eq!(rig.members(), named(&[1, 2]));
    rig.hears(answer(&[1, 2]));
    assert!(work.member.takes());
    drop(work);
    settle().await;
    assert_eq!(rig.members(), named(&[1, 2]), "it is named again");
}

#[derive(Clone, Debug)]
enum Event {
    Answer(Vec<u8>),
    NoAnswer,
    Work(u8),
    Done(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => prop::collection::vec(1u8..5, 0..4).prop_map(Event::Answer),
        1 => Just(Event::NoAnswer),
        3 => (1u8..5).prop_map(Event::Work),
        2 => (0usize..4).prop_map(Event::Done),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn members_are_those_of_the_last_answer_and_those_that_have_work(
        events in prop::collection::vec(event(), 1..30)
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let rig = rig();
            let (mut last, mut works) = (Vec::new(), Vec::<Picked>::new());
            for event in events {
                match event {
                    Event::Answer(ips) => {
                        rig.hears(answer(&ips));
                        if !ips.is_empty() {
                            last = ips;
                        }
                    }
                    Event::NoAnswer => {
                        let failed = Some(Said::Failed("late".into()));
                        rig.hears(Answer { v4: failed, v6: None, ttl: TTL });
                    }
                    Event::Work(ip) => {
                        let got = rig.work_on(&format!("10.0.0.{ip}:7"));
                        prop_assert_eq!(got.is_some(), last.contains(&ip), "new work");
                        works.extend(got);
                    }
                    Event::Done(n) if n < works.len() => drop(works.remove(n)),
                    Event::Done(_) => {}
                }
                settle().await;
                let mut meant = named(&last);
                meant.extend(works.iter().map(|work| work.member.name.clone()));
                prop_assert_eq!(rig.members(), meant);
            }
            Ok(())
        })?;
    }
}
