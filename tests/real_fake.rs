//! Holds the fake CLI to the real one: one script against both, and the transcripts are equal.
//!
//! Compared: answers, events of the types that the fake sends, requests to clients, broadcasts (as a
//! set: their number varies), how connections end. Ids, times, paths and durations are not.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where it fails"
)]

#[path = "real_fake/cases.rs"]
mod cases;
#[path = "shared/installed.rs"]
mod installed;
#[path = "real_fake/script.rs"]
mod script;
#[path = "real_fake/target.rs"]
mod target;
#[path = "real_fake/transcript.rs"]
mod transcript;

use target::Target;

/// Compares line by line; shows those that only one has, under the step that they belong to.
fn assert_same(fake: &[String], real: &[String]) {
    let mut longest = vec![vec![0_u32; real.len() + 1]; fake.len() + 1];
    for f in (0..fake.len()).rev() {
        for r in (0..real.len()).rev() {
            longest[f][r] = if fake[f] == real[r] {
                longest[f + 1][r + 1] + 1
            } else {
                longest[f + 1][r].max(longest[f][r + 1])
            };
        }
    }
    let (mut f, mut r, mut different, mut any) = (0, 0, String::new(), false);
    while f < fake.len() || r < real.len() {
        if f < fake.len() && r < real.len() && fake[f] == real[r] {
            if fake[f].starts_with("==") {
                different.push_str(&format!("{}\n", fake[f]));
            }
            (f, r) = (f + 1, r + 1);
            continue;
        }
        any = true;
        let fakes = r == real.len() || f < fake.len() && longest[f + 1][r] >= longest[f][r + 1];
        if fakes {
            different.push_str(&format!("  fake {}\n", fake[f]));
            f += 1;
        } else {
            different.push_str(&format!("  real {}\n", real[r]));
            r += 1;
        }
    }
    assert!(!any, "differences, each before the end of its step:\n{different}");
}

#[tokio::test]
async fn the_fake_frames_as_the_real_one_does() {
    let (fake, real) = tokio::join!(Target::fake(None), Target::real(None));
    assert_same(&cases::run(&fake).await, &cases::run(&real).await);
}

#[tokio::test]
async fn the_fake_asks_for_a_token_as_the_real_one_does() {
    let (fake, real) = tokio::join!(Target::fake(Some("t0k")), Target::real(Some("t0k")));
    assert_same(&script::token(&fake).await, &script::token(&real).await);
}

#[tokio::test]
async fn the_fake_keeps_sessions_as_the_real_one_does() {
    let (fake, real) = tokio::join!(Target::fake(None), Target::real(None));
    assert_same(&script::sessions(&fake).await, &script::sessions(&real).await);
}

#[tokio::test]
async fn the_fake_runs_turns_as_the_real_one_does() {
    let (fake, real) = tokio::join!(Target::fake(None), Target::real(None));
    assert_same(&script::turns(&fake).await, &script::turns(&real).await);
}

#[tokio::test]
async fn the_fake_asks_its_clients_as_the_real_one_does() {
    let (fake, real) = tokio::join!(Target::fake(None), Target::real(None));
    assert_same(&script::asking(&fake).await, &script::asking(&real).await);
}

#[tokio::test]
async fn the_fake_leaves_as_the_real_one_does() {
    let (fake, real) = tokio::join!(Target::fake(None), Target::real(None));
    assert_same(&script::leaving(fake).await, &script::leaving(real).await);
}
