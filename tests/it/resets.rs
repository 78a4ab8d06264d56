//! How links end: those that are lost with a reset, so that nothing that waited still arrives; the others with a FIN.

use fairlead::testing::FakeCli;
use fairlead::testing::client::{Client, Closed};
use serde_json::json;

use super::rig::*;

/// Has the CLI stop, and sends it more than its kernel takes; waits until that is given up.
async fn lose(rig: &Rig, client: &Client, bytes: usize) -> u64 {
    create(client, "s").await;
    let link = rig.clis[0].attached("s")[0];
    rig.clis[0].wedge();
    let params = json!({"sessionId": "s", "prompt": "x".repeat(bytes)});
    let error = client.request("session.send", params).await.unwrap_err();
    is_ours(&error, -32040, "upstream_lost");
    link
}

/// The CLI goes on: the link is reset, and of what was sent over it nothing came.
async fn is_reset(cli: &FakeCli, link: u64) {
    cli.unwedge();
    within("the link ends", cli.until(|cli| cli.ended(link).is_some())).await;
    assert_eq!(cli.ended(link), Some(Closed::Reset));
    assert!(!cli.methods().iter().any(|method| method == "session.send"));
    within("its session is stored", cli.until(|cli| cli.sessions().is_empty())).await;
}

#[tokio::test]
async fn a_link_that_took_nothing_for_too_long_is_reset() {
    let setup = clis(1).limits("stall_timeout = \"500ms\"").health("dead_after = \"60s\"");
    let rig = setup.start().await;
    let client = rig.client().await;
    let link = lose(&rig, &client, 7_000_000).await;
    let stalled = [("reason", "stalled")];
    assert_eq!(rig.metrics().await.sum("fairlead_upstream_lost_total", &stalled), 1.0);
    is_reset(&rig.clis[0], link).await;
}

#[tokio::test]
async fn what_the_kernel_took_for_a_cli_that_is_silent_for_too_long_does_not_arrive() {
    let rig = clis(1).health("interval = \"100ms\"\ndead_after = \"3s\"").start().await;
    let client = rig.client().await;
    // More than the CLI's side takes, less than ours does: nothing of it waits in fairlead.
    let link = lose(&rig, &client, 1_000_000).await;
    let dead = [("reason", "dead")];
    assert_eq!(rig.metrics().await.sum("fairlead_upstream_lost_total", &dead), 1.0);
    is_reset(&rig.clis[0], link).await;
}

#[tokio::test]
async fn a_link_that_is_given_back_ends_with_a_fin() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    used(&client, "s").await;
    let link = rig.clis[0].attached("s")[0];
    client.close().await;
    let cli = &rig.clis[0];
    within("the link ends", cli.until(|cli| cli.ended(link).is_some())).await;
    assert_eq!(cli.ended(link), Some(Closed::Fin));
}
