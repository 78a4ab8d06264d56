//! Secrets in files that change while fairlead runs.

use serde_json::json;

use super::owners::{Dir, guarded, known, tokens};
use super::rig::*;

#[tokio::test]
async fn a_new_token_of_the_clis_is_for_new_links_and_what_is_open_stays() {
    let dir = Dir::new();
    let file = dir.0.join("cli-token");
    std::fs::write(&file, "old\n").unwrap();
    let setup = clis(1).cli(0, |cli| cli.token = Some("old".into())).health("interval = \"100ms\"");
    let rig = setup.pool(&format!("token = {{ file = \"{}\" }}", file.display())).start().await;
    let before = rig.client().await;
    used(&before, "s").await;
    rig.clis[0].set_token("new");
    let client = rig.client().await;
    is_ours(&refused(&client, "session.create", opened("t")).await, -32041, "no_upstream");
    // Whoever writes it is not done at once.
    std::fs::write(&file, "").unwrap();
    std::fs::write(&file, "new").unwrap();
    let made = async || rig.client().await.request("session.create", opened("t")).await.is_ok();
    eventually("new links are let in", made).await;
    // A watch, too: the fleet is asked over it.
    rig.until_state("up", 1).await;
    assert_eq!(turn(&before, "s", "x").await, "You said \"x\". I remember 1 earlier messages.");
    let links = rig.metrics().await.sum("fairlead_upstream_lost_total", &[("reason", "fin")]);
    assert_eq!(links, 0.0, "the open link stays");
}

#[tokio::test]
async fn tokens_of_clients_are_read_again_and_a_broken_file_leaves_the_old_ones() {
    let dir = Dir::new();
    tokens(&dir, &["alice"]);
    let rig = guarded(&dir, clis(1)).start().await;
    let alice = known(&rig, "alice").await;
    let lets_in = async |user: &str| {
        let token = json!({"token": format!("{user}-token")});
        rig.client().await.request("connect", token).await.is_ok()
    };
    assert!(!lets_in("bob").await);
    tokens(&dir, &["bob"]);
    eventually("bob is known", async || lets_in("bob").await).await;
    assert!(!lets_in("alice").await, "her token is taken away");
    ask(&alice, "ping", json!({})).await;
    std::fs::write(dir.0.join("tokens.toml"), "[[token]]\n").unwrap();
    // Longer than it takes to look.
    for _ in 0..3 {
        alice.quiet(std::time::Duration::from_secs(1)).await;
        assert!(lets_in("bob").await);
    }
}
