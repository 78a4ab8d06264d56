//! Managed CLIs with the real CLI: what the stand-in cannot prove. Needs `make deps`.

#[cfg(test)]
#[path = "shared/installed.rs"]
mod installed;
#[cfg(test)]
#[path = "managed/rig.rs"]
#[expect(dead_code, reason = "this suite needs only a part of the rig")]
mod rig;

use std::path::{Path, PathBuf};

use fairlead::time;
use fairlead::upstream::source::managed::{Spec, Status, resolve};

use self::installed::package;
use self::rig::{Rig, eventually, kill, lives, ready, until};

/// The native binary; fails where it is not installed.
fn native() -> PathBuf {
    let native = package("copilot").join("copilot");
    native.canonicalize().unwrap_or(native)
}

/// A CLI that needs no network; its model server is never asked.
fn offline(rig: &Rig, program: &Path) -> Spec {
    let mut spec = rig.spec(&[&program.to_string_lossy()]);
    let env = [
        ("COPILOT_OFFLINE", "true"),
        ("COPILOT_PROVIDER_BASE_URL", "http://127.0.0.1:1/v1"),
        ("COPILOT_MODEL", "fake"),
    ];
    spec.env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    spec
}

#[tokio::test]
async fn the_wrapper_is_replaced_by_the_native_binary_which_ends_on_term() {
    let mut rig = Rig::new();
    let native = native();
    let wrapper = native.ancestors().nth(3).unwrap().join(".bin/copilot");
    assert_eq!(resolve(wrapper.to_str().unwrap(), None).unwrap(), native);
    let cli = rig.start(offline(&rig, &wrapper));
    let (port, pid, _) = ready(&cli).await;
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/exe")).unwrap(), native);
    let asked = time::now();
    cli.stop().await;
    assert!(time::now() - asked < offline(&rig, &native).stop_timeout, "it had to be killed");
    assert!(!lives(pid));
    assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_ok());
}

#[tokio::test]
async fn a_real_cli_with_a_token_is_ready_and_replaced_when_it_is_killed() {
    let mut rig = Rig::new();
    let mut spec = offline(&rig, &native());
    spec.token = Some("a-token-of-the-pool".into());
    let cli = rig.start(spec);
    let (_, pid, _) = ready(&cli).await;
    kill(pid);
    until(&cli, |s| matches!(s, Status::Ready { generation: 2, .. })).await;
    assert!(!lives(pid));
    cli.stop().await;
}

#[tokio::test]
async fn what_keeps_a_real_cli_from_starting_is_shown() {
    let mut rig = Rig::new();
    let mut spec = offline(&rig, &native());
    spec.env.truncate(1);
    let cli = rig.start(spec);
    let status = until(&cli, |s| matches!(s, Status::Backoff { .. })).await;
    let Status::Backoff { last, .. } = status else { panic!("{status:?}") };
    assert!(last.contains("Offline mode requires a local model provider"), "{last}");
    cli.stop().await;
}

#[tokio::test]
async fn a_real_cli_dies_with_its_supervisor() {
    let mut rig = Rig::new();
    let cli = rig.start(offline(&rig, &native()));
    let (_, pid, _) = ready(&cli).await;
    drop(rig);
    eventually("the CLI is dead", || !lives(pid)).await;
}
