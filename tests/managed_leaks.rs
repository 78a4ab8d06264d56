//! A thousand starts and stops of a managed CLI leave nothing behind. Alone in its process, because
//! it counts what the process has.

#![expect(clippy::unwrap_used, reason = "a test's own functions")]

#[cfg(test)]
#[path = "managed/rig.rs"]
#[expect(dead_code, reason = "this suite needs only a part of the rig")]
mod rig;

use fairlead::upstream::source::managed::StateDir;

use self::rig::{Rig, STAND_IN, eventually, ready};

const ROUNDS: usize = 250;
const AT_ONCE: usize = 4;

#[tokio::test]
async fn a_thousand_starts_and_stops_leave_no_descriptor_child_port_or_entry() {
    let mut rig = Rig::new();
    round(&mut rig).await;
    let before = (descriptors(), children());
    let mut ports = Vec::new();
    for _ in 0..ROUNDS {
        ports.extend(round(&mut rig).await);
    }
    assert_eq!((descriptors(), children()), before);
    assert_eq!(ports.len(), ROUNDS * AT_ONCE);
    // Somebody else may have one of them for a moment by now; none is held for good.
    let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    eventually("each port was free once", || {
        ports.retain(|port| !free(*port));
        ports.is_empty()
    })
    .await;
    let dir = rig.dir.0.clone();
    let list = std::fs::read_to_string(dir.join("managed.json")).unwrap();
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["clis"], serde_json::json!([]));
    assert!(StateDir::open(&dir).is_err(), "the directory is still ours");
}

/// Starts some CLIs, waits until all are ready, stops them; returns their ports.
async fn round(rig: &mut Rig) -> Vec<u16> {
    let mut clis = Vec::new();
    for index in 0..AT_ONCE {
        let mut spec = rig.spec(&[STAND_IN, "ok"]);
        spec.index = index;
        clis.push(rig.start(spec));
    }
    let mut ports = Vec::new();
    for cli in &clis {
        ports.push(ready(cli).await.0);
    }
    for cli in clis {
        cli.stop().await;
    }
    rig.finished().await;
    ports
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Children of this process, dead ones too.
fn children() -> usize {
    let me = std::process::id().to_string();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = all.filter_map(|p| std::fs::read_to_string(p.path().join("stat")).ok());
    stats.filter(|s| s.rsplit_once(')').unwrap().1.split_whitespace().nth(1) == Some(&me)).count()
}
