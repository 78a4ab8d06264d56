//! Any sequence of operations, beside a map.

use std::collections::BTreeMap;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Claim(u8, Record),
    Change(u8, Record),
    Use(u8, SystemTime),
    Release(u8),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let session = || 0..6u8;
    prop_oneof![
        4 => (session(), record()).prop_map(|(n, record)| Step::Claim(n, record)),
        3 => (session(), record()).prop_map(|(n, record)| Step::Change(n, record)),
        2 => (session(), moment()).prop_map(|(n, used)| Step::Use(n, used)),
        2 => session().prop_map(Step::Release),
        1 => Just(Step::Reopen),
    ]
}

/// Sessions 0 to 2 of one pool, and the same of another.
fn place(n: u8) -> (&'static str, SessionId) {
    (["a", "b"][usize::from(n / 3)], id(&(n % 3).to_string()))
}

fn run(steps: Vec<Step>, mut ledger: Ledger, reopen: impl Fn(Ledger) -> Ledger) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut model: BTreeMap<u8, Record> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Claim(n, record) => {
                let (pool, session) = place(n);
                match ledger.claim(pool, &session, record.clone()) {
                    Ok(receipt) => {
                        runtime.block_on(receipt).unwrap();
                        assert_eq!(model.insert(n, record), None);
                    }
                    Err(known) => assert_eq!(Some(&*known), model.get(&n)),
                }
            }
            Step::Change(n, record) => {
                let (pool, session) = place(n);
                let receipt = ledger.change(pool, &session, |known| *known = record.clone());
                assert_eq!(receipt.is_some(), model.contains_key(&n));
                if let Some(receipt) = receipt {
                    runtime.block_on(receipt).unwrap();
                    model.insert(n, record);
                }
            }
            Step::Use(n, used) => {
                let (pool, session) = place(n);
                drop(ledger.change(pool, &session, |known| known.used = used));
                if let Some(record) = model.get_mut(&n) {
                    record.used = used;
                }
            }
            Step::Release(n) => {
                let (pool, session) = place(n);
                runtime.block_on(ledger.release(pool, &session)).unwrap();
                model.remove(&n);
            }
            Step::Reopen => ledger = reopen(ledger),
        }
        agree(&ledger, &model);
    }
}

fn agree(ledger: &Ledger, model: &BTreeMap<u8, Record>) {
    assert_eq!(ledger.len(), model.len());
    for n in 0..6 {
        let (pool, session) = place(n);
        assert_eq!(ledger.get(pool, &session).as_deref(), model.get(&n), "session {n}");
    }
    for pool in ["a", "b"] {
        let persistent = |record: &Record| record.class == Class::Persistent;
        let wanted = model.iter().filter(|(n, record)| place(**n).0 == pool && persistent(record));
        assert_eq!(ledger.sessions_of(pool, persistent).len(), wanted.count());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_ledger_in_memory_does_what_a_map_does(steps in prop::collection::vec(step(), 1..60)) {
        run(steps, Ledger::memory(), |ledger| ledger);
    }

    #[test]
    fn a_ledger_in_a_file_does_so_and_knows_it_after_a_restart(
        steps in prop::collection::vec(step(), 1..30)
    ) {
        let disk = super::disk::Disk::new();
        let open = || Ledger::at(Box::new(disk.clone()), Pace::default()).unwrap();
        run(steps, open(), |ledger| {
            drop(ledger);
            open()
        });
    }
}
