//! A disk that crashes in the midst of writing, and loses any part of what was not synced.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::disk::{Disk, Random};
use super::*;

const ROUNDS: u64 = 60;
const THREADS: u64 = 3;

/// What a session may be after the crash: what was acknowledged last, and what was asked since.
#[derive(Default)]
struct May(Vec<Option<Record>>);

type Told = Mutex<BTreeMap<String, May>>;

/// Claims, changes and releases sessions of its own until the disk crashes.
fn tell(ledger: &Ledger, disk: &Disk, told: &Told, thread: u64, seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut random = Random(seed ^ (thread << 32));
    let bytes: Vec<u8> = (0..32).map(|_| random.below(256) as u8).collect();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let deadline = time::now() + DEADLINE;
    while !disk.is_crashed() {
        assert!(time::now() < deadline, "seed {seed}: the disk was not written to");
        let name = format!("{thread}-{}", random.below(20));
        let next = record().new_tree(&mut runner).unwrap().current();
        let now = ledger.get(POOL, &id(&name)).map(|record| Record::clone(&record));
        let wanted = if now.is_some() && random.below(3) == 0 { None } else { Some(next.clone()) };
        told.lock().entry(name.clone()).or_insert(May(vec![None])).0.push(wanted.clone());
        let receipt = match (&now, &wanted) {
            (_, None) => ledger.release(POOL, &id(&name)),
            (None, Some(_)) => ledger.claim(POOL, &id(&name), next).unwrap(),
            (Some(_), Some(_)) => ledger.change(POOL, &id(&name), |record| *record = next).unwrap(),
        };
        let done = runtime.block_on(receipt).is_ok();
        // Acknowledged before the crash: the disk has it. Later: nobody knows.
        if done && !disk.is_crashed() {
            told.lock().insert(name, May(vec![wanted]));
        }
    }
}

#[test]
fn a_crash_of_the_disk_loses_nothing_that_was_acknowledged() {
    let (mut acknowledged, mut present) = (0, 0);
    for seed in 0..ROUNDS {
        let disk = Disk::new();
        let ledger = Ledger::at(Box::new(disk.clone()), Pace::default()).unwrap();
        disk.crash_after(Random(seed).below(300), seed);
        let told = Told::default();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (ledger, disk, told) = (&ledger, &disk, &told);
                scope.spawn(move || tell(ledger, disk, told, thread, seed));
            }
        });
        let left = Disk::of(disk.crashed().unwrap());
        let after = Ledger::at(Box::new(left), Pace::default())
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let mut known = 0;
        for (name, may) in told.into_inner() {
            let is = after.get(POOL, &id(&name)).map(|record| Record::clone(&record));
            acknowledged += usize::from(may.0.len() == 1);
            known += usize::from(is.is_some());
            assert!(may.0.contains(&is), "seed {seed}: {name} is {is:?}, may be {:?}", may.0);
        }
        assert_eq!(after.len(), known, "seed {seed}: sessions that nobody claimed");
        present += known;
    }
    assert!(acknowledged > 200 && present > 200, "{acknowledged} acknowledged, {present} present");
}
