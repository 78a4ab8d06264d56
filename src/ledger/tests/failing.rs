//! A disk that fails for a while.

use super::disk::Disk;
use super::*;

const QUICK: Pace = Pace { touch: Duration::from_millis(1), retry: Duration::from_millis(1) };

fn on(disk: &Disk) -> Ledger {
    Ledger::at(Box::new(disk.clone()), QUICK).unwrap()
}

fn metrics() -> Arc<Metrics> {
    Metrics::new("0", "0", Default::default())
}

#[tokio::test]
async fn while_the_disk_fails_claims_are_refused_and_reads_go_on() {
    let (disk, metrics) = (Disk::new(), metrics());
    let ledger = on(&disk);
    ledger.report(Arc::clone(&metrics));
    ledger.claim(POOL, &id("before"), of_user("al")).unwrap().await.unwrap();
    disk.set_failing(true);
    for name in ["first", "second"] {
        let refused = ledger.claim(POOL, &id(name), of_user("al")).unwrap().await.unwrap_err();
        assert_eq!((refused.fault(), refused.slug()), (Fault::Machine, "failing"));
        assert_eq!(ledger.get(POOL, &id(name)), None, "{name} is undone");
    }
    assert!(!ledger.up());
    let text = metrics.render().unwrap();
    assert!(text.contains("\nfairlead_ledger_up 0\n"), "{text}");
    assert!(text.contains("fairlead_ledger_errors_total{op=\"claim\"} 2\n"), "{text}");
    assert_eq!(ledger.get(POOL, &id("before")).as_deref(), Some(&of_user("al")));
}

#[tokio::test]
async fn a_disk_that_works_again_gets_what_it_missed() {
    let (disk, metrics) = (Disk::new(), metrics());
    let ledger = on(&disk);
    ledger.report(Arc::clone(&metrics));
    for name in ["changed", "released"] {
        ledger.claim(POOL, &id(name), of_user("al")).unwrap().await.unwrap();
    }
    disk.set_failing(true);
    let grant = |record: &mut Record| record.grants.push(of_user("bo").owner);
    assert!(ledger.change(POOL, &id("changed"), grant).unwrap().await.is_err());
    assert!(ledger.release(POOL, &id("released")).await.is_err());
    assert!(ledger.claim(POOL, &id("refused"), of_user("al")).unwrap().await.is_err());
    disk.set_failing(false);
    eventually("it is up again", || ledger.up());
    let text = metrics.render().unwrap();
    assert!(text.contains("\nfairlead_ledger_up 1\n"), "{text}");
    ledger.claim(POOL, &id("after"), of_user("al")).unwrap().await.unwrap();
    drop(ledger);
    let again = on(&disk);
    let names = |ledger: &Ledger| {
        let mut names: Vec<_> =
            ledger.sessions_of(POOL, |_| true).iter().map(ToString::to_string).collect();
        names.sort();
        names
    };
    assert_eq!(names(&again), ["after", "changed"]);
    assert_eq!(again.get(POOL, &id("changed")).unwrap().grants, [of_user("bo").owner]);
}

#[tokio::test]
async fn claims_that_come_together_share_a_sync() {
    let disk = Disk::new();
    let ledger = on(&disk);
    let before = disk.syncs();
    let receipts: Vec<_> = (0..1000)
        .map(|n| ledger.claim(POOL, &id(&n.to_string()), of_user("al")).unwrap())
        .collect();
    for receipt in receipts {
        receipt.await.unwrap();
    }
    let syncs = disk.syncs() - before;
    assert!(syncs < 500, "{syncs} syncs for 1000 claims");
}

#[tokio::test]
async fn a_time_of_use_is_written_though_nobody_waits_for_it() {
    let disk = Disk::new();
    let ledger = on(&disk);
    ledger.claim(POOL, &id("s"), of_user("al")).unwrap().await.unwrap();
    let later = UNIX_EPOCH + Duration::from_secs(99);
    ledger.change(POOL, &id("s"), |record| record.used = later).unwrap().await.unwrap();
    eventually("the time is on the disk", || {
        let copy = Ledger::at(Box::new(Disk::of(disk.bytes())), QUICK);
        copy.is_ok_and(|copy| copy.get(POOL, &id("s")).is_some_and(|record| record.used == later))
    });
}
