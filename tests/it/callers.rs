//! Who proves to an HTTP listener who it is: by a token that somebody else signed, or by a certificate.

use std::collections::BTreeSet;

use serde_json::json;

use super::apps::{STICKY, answer, field, identity, over_tls, rig, send};
use super::certificates::{Ca, Folder};
use super::rig::eventually;
use super::tell::{lines, log};

const KEY: &[u8] = b"a key of thirty-two bytes or more, as HS256 wants it";

/// A token for a user, signed with a key.
fn jwt(user: &str, key: &[u8]) -> String {
    use base64::Engine as _;
    let coded = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let head = coded(json!({"alg": "HS256"}).to_string().as_bytes());
    let claims = coded(json!({"sub": user, "exp": 4_000_000_000_u64}).to_string().as_bytes());
    let message = format!("{head}.{claims}");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
    let signature = coded(ring::hmac::sign(&key, message.as_bytes()).as_ref());
    format!("{message}.{signature}")
}

#[tokio::test]
async fn a_signed_token_says_whose_a_request_is_and_goes_on() {
    log();
    let folder = Folder::new(&Ca::new());
    folder.put("key", std::str::from_utf8(KEY).unwrap());
    let key = format!("algorithms = [\"HS256\"]\nkey = {{ file = \"{}\" }}", folder.path("key"));
    let rig = rig(&identity("jwt", &key), STICKY).await;
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let mut met = BTreeSet::new();
    for user in 0..20 {
        let fields = bearer(&jwt(&format!("user-{user}"), KEY));
        let first = rig.get("/signed", &fields).await;
        assert_eq!(first.status, 200, "{first:?}");
        assert_eq!(rig.get("/signed", &fields).await.body, first.body, "the same user");
        met.insert(first.body);
    }
    assert_eq!(met.len(), 3, "users are spread");
    let heads: Vec<_> = rig.apps.iter().flat_map(|app| app.heads()).collect();
    assert!(heads.iter().all(|head| field(head, "authorization").is_some()), "it is for both");
    let mine = || lines(|l| l["path"] == "/signed" && l["identity"] == "user-7");
    eventually("both have a line", async || mine().len() == 2).await;
    assert!(mine().iter().all(|l| l["proof"] == "jwt"), "{:?}", mine());

    for (fields, reason) in [
        (String::new(), "authentication_required"),
        (
            bearer(&jwt("user-7", b"another key of thirty-two bytes or more.")),
            "authentication_failed",
        ),
        (bearer("user-7"), "authentication_failed"),
    ] {
        let refused = rig.get("/", &fields).await;
        assert_eq!((refused.status, &refused.json()["reason"]), (401, &json!(reason)));
        assert!(field(&refused.head, "www-authenticate").is_some());
    }
    let after: usize = rig.apps.iter().map(|app| app.heads().len()).sum();
    assert_eq!(after, heads.len(), "nothing of those went on");
}

#[tokio::test]
async fn a_certificate_says_whose_a_conns_requests_are() {
    log();
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let by_uri = identity("mtls", "field = \"san_uri\"\npattern = '^urn:(?<user>.+)$'");
    let rig = rig(&format!("{}{by_uri}", folder.mtls("required")), STICKY).await;
    let mut met = BTreeSet::new();
    for user in 0..20 {
        let own = ca.client(&format!("urn:user-{user}"));
        let mut homes = Vec::new();
        for _ in 0..2 {
            let mut stream = over_tls(&rig, &ca, &[b"http/1.1"], Some(&own)).await;
            for _ in 0..2 {
                send(&mut stream, "GET /shown HTTP/1.1\r\nHost: a\r\n\r\n").await;
                homes.push(answer(&mut stream).await.body);
            }
        }
        assert!(homes.iter().all(|home| *home == homes[0]), "the same user: {homes:?}");
        met.extend(homes);
    }
    assert_eq!(met.len(), 3, "users are spread");
    let mine = || lines(|l| l["path"] == "/shown" && l["identity"] == "user-7");
    eventually("all have a line", async || mine().len() == 4).await;
    assert!(mine().iter().all(|l| l["proof"] == "mtls"), "{:?}", mine());
}
