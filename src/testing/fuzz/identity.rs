//! What must hold for whatever somebody presents or writes to say who calls.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::Value;

use crate::config;
use crate::identity::jwt::{Algorithm, Key, Keys, Rules, Verifier};
use crate::identity::{is_name, token};
use crate::wire::cidr::{Cidr, CidrError};

/// What a file of tokens lists is found by its token alone, and every mistake has a place in the file.
pub fn tokens(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match config::tokens::parse(text, "tokens.toml") {
        Ok((tokens, warnings)) => {
            assert!(warnings.iter().all(|problem| !problem.is_error()));
            for entry in tokens.entries() {
                assert!(is_name(&entry.user));
                assert!(tokens.find(&token::to_hex(&entry.sha256)).is_none(), "a hash is no token");
            }
            let hashes: std::collections::BTreeSet<_> =
                tokens.entries().iter().map(|entry| entry.sha256).collect();
            assert_eq!(hashes.len(), tokens.entries().len(), "one token, two callers");
        }
        Err(problems) => {
            assert!(problems.iter().any(config::Problem::is_error));
            let lines = text.split('\n').count();
            for problem in &problems {
                assert!(problem.place.as_ref().is_some_and(|p| (1..=lines).contains(&p.line)));
            }
        }
    }
}

/// Bytes that are no token of ours are never taken for one; as the claims of one, they are taken only if they name a
/// user and a time that is to come. As a set of keys they are read without a panic.
pub fn jwt(data: &[u8]) {
    const SECRET: &str = "no secret: whoever fuzzes may know it";
    let Ok(key) = Key::read(Algorithm::Hs256, SECRET) else { panic!("the secret is long enough") };
    let rules = Rules {
        issuer: None,
        audience: vec!["fairlead".into()],
        user_claim: "sub".into(),
        tenant_claim: None,
        leeway: Duration::ZERO,
    };
    let verifier = Verifier::new(Keys::one(key), rules);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
    let text = String::from_utf8_lossy(data);
    assert!(verifier.verify(&text, now).is_err(), "not signed, but taken");
    let _ = Keys::of_set(&text, &[Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa]);
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#),
        URL_SAFE_NO_PAD.encode(data)
    );
    let signer = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hmac::sign(&signer, message.as_bytes());
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag));
    if let Ok(claim) = verifier.verify(&token, now) {
        let claims: Value =
            serde_json::from_slice(data).unwrap_or_else(|why| panic!("taken, but no JSON: {why}"));
        let said = |name| claims.get(name).unwrap_or(&Value::Null);
        assert_eq!(said("sub").as_str(), claim.user.as_deref());
        assert!(claim.user.as_deref().is_some_and(is_name));
        assert!(said("exp").as_f64().is_some_and(|end| end > 1000.0), "over, but taken");
        assert!(claim.expires.is_some_and(|end| end > now));
        assert!(said("aud").to_string().contains("\"fairlead\""), "for somebody else, but taken");
    }
}

/// A range that is taken is shown as it is read, holds its own address, and holds what a comparison bit by bit says.
pub fn cidr(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let cidr: Cidr = match text.parse() {
        Ok(cidr) => cidr,
        Err(CidrError::HostBits(meant)) => {
            assert_eq!(meant.to_string().parse(), Ok(meant), "what is suggested is not taken");
            return;
        }
        Err(CidrError::Form | CidrError::Prefix(_)) => return,
    };
    let shown = cidr.to_string();
    assert_eq!(shown.parse(), Ok(cidr));
    let (network, _) = shown.split_once('/').unwrap_or((&shown, ""));
    let Ok(network) = network.parse::<IpAddr>() else { panic!("{shown}: no address") };
    assert!(cidr.contains(network));
    let bits = bits(network);
    for flipped in 0..bits.len() {
        let other: Vec<bool> =
            bits.iter().enumerate().map(|(at, bit)| *bit ^ (at == flipped)).collect();
        if network.is_ipv6() && address(&other).to_canonical().is_ipv4() {
            continue;
        }
        let inside = flipped >= cidr.prefix() as usize;
        assert_eq!(cidr.contains(address(&other)), inside, "{shown}: bit {flipped}");
    }
}

fn bits(address: IpAddr) -> Vec<bool> {
    let bytes = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1 == 1)).collect()
}

fn address(bits: &[bool]) -> IpAddr {
    let whole = bits.iter().fold(0u128, |number, bit| number << 1 | u128::from(*bit));
    match u32::try_from(whole) {
        Ok(v4) if bits.len() == 32 => IpAddr::V4(v4.into()),
        Ok(_) | Err(_) => IpAddr::V6(whole.into()),
    }
}
