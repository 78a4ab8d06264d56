//! Tokens signed with keys that are made here and now; each way to get one wrong.

use std::sync::OnceLock;

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use rsa::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use rsa::traits::PublicKeyParts as _;
use serde_json::json;

use super::*;

const SECRET: &str = "made for this test, longer than 32 bytes";

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn rules() -> Rules {
    Rules {
        issuer: None,
        audience: Vec::new(),
        user_claim: "sub".into(),
        tenant_claim: None,
        leeway: Duration::ZERO,
    }
}

fn hs256(rules: Rules) -> Verifier {
    Verifier::new(Keys::one(Key::read(Algorithm::Hs256, SECRET).unwrap()), rules)
}

fn sign(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    format!("{message}.{}", b64(sign(message.as_bytes())))
}

fn hmac(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    move |message| ring::hmac::sign(&key, message).as_ref().to_vec()
}

fn alice(header: &Value) -> String {
    sign(header, &json!({ "sub": "alice", "exp": 100 }), hmac(SECRET.as_bytes()))
}

fn said(claims: &Value) -> String {
    sign(&json!({ "alg": "HS256" }), claims, hmac(SECRET.as_bytes()))
}

type Sign = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

/// What signs, its public key as PEM, and the same as a JWK.
struct Pair {
    algorithm: Algorithm,
    sign: Box<Sign>,
    pem: String,
    jwk: Value,
}

fn pem(prefix: &[u8], key: &[u8]) -> String {
    let der = [prefix, key].concat();
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
}

fn rsa_of(bits: usize) -> rsa::RsaPrivateKey {
    rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, bits).unwrap()
}

fn rsa_pair() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| {
        let made = rsa_of(2048);
        let der = made.to_pkcs8_der().unwrap();
        let key = RsaKeyPair::from_pkcs8(der.as_bytes()).unwrap();
        Pair {
            algorithm: Algorithm::Rs256,
            pem: made.to_public_key().to_public_key_pem(LineEnding::LF).unwrap(),
            jwk: json!({ "kty": "RSA", "n": b64(made.n().to_bytes_be()), "e": b64(made.e().to_bytes_be()) }),
            sign: Box::new(move |message| {
                let mut tag = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut tag).unwrap();
                tag
            }),
        }
    })
}

fn ec_pair() -> Pair {
    let random = SystemRandom::new();
    let alg = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let made = EcdsaKeyPair::generate_pkcs8(alg, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(alg, made.as_ref(), &random).unwrap();
    let point = key.public_key().as_ref().to_vec();
    // RFC 5480: SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING }
    let prefix = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
    Pair {
        algorithm: Algorithm::Es256,
        pem: pem(prefix, &point),
        jwk: json!({ "kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..]) }),
        sign: Box::new(move |message| {
            key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
        }),
    }
}

fn ed_pair() -> Pair {
    let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let key = Ed25519KeyPair::from_pkcs8(made.as_ref()).unwrap();
    let public = key.public_key().as_ref().to_vec();
    // RFC 8410: SEQUENCE { SEQUENCE { id-Ed25519 }, BIT STRING }
    let prefix = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
    Pair {
        algorithm: Algorithm::EdDsa,
        pem: pem(prefix, &public),
        jwk: json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(&public) }),
        sign: Box::new(move |message| key.sign(message).as_ref().to_vec()),
    }
}

fn each(check: impl Fn(&Pair)) {
    check(rsa_pair());
    check(&ec_pair());
    check(&ed_pair());
}

const ALL: [Algorithm; 3] = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];

#[test]
fn a_signed_token_says_who_it_is_and_until_when() {
    let verifier = hs256(Rules { leeway: Duration::from_secs(5), ..rules() });
    let claim = verifier.verify(&alice(&json!({ "alg": "HS256", "typ": "JWT" })), at(104)).unwrap();
    assert_eq!(claim.user.as_deref(), Some("alice"));
    assert_eq!((claim.tenant, claim.trust), (None, None));
    assert_eq!((claim.proof, claim.expires), (Proof::Jwt, Some(at(105))));
}

#[test]
fn each_kind_of_key_verifies_its_own_signatures_alone() {
    let claims = json!({ "sub": "alice", "exp": 100 });
    each(|pair| {
        let header = json!({ "alg": pair.algorithm.name() });
        let token = sign(&header, &claims, &pair.sign);
        let set = json!({ "keys": [pair.jwk] }).to_string();
        for keys in [
            Keys::one(Key::read(pair.algorithm, &pair.pem).unwrap()),
            Keys::of_set(&set, &[pair.algorithm]).unwrap(),
        ] {
            let verifier = Verifier::new(keys, rules());
            assert!(verifier.verify(&token, at(1)).is_ok(), "{}", pair.algorithm.name());
            let other = sign(&header, &json!({ "sub": "bob", "exp": 100 }), &pair.sign);
            let (message, _) = other.rsplit_once('.').unwrap();
            let (_, tag) = token.rsplit_once('.').unwrap();
            let forged = format!("{message}.{tag}");
            assert_eq!(verifier.verify(&forged, at(1)), Err(Refused::Signature));
            assert_eq!(verifier.verify(&format!("{message}."), at(1)), Err(Refused::Signature));
        }
    });
}

#[test]
fn a_public_key_is_never_a_secret() {
    each(|pair| {
        let keys = Keys::one(Key::read(pair.algorithm, &pair.pem).unwrap());
        let verifier = Verifier::new(keys, rules());
        let claims = json!({ "sub": "root", "exp": 100 });
        for secret in [pair.pem.as_str(), pair.pem.trim()] {
            let hs = sign(&json!({ "alg": "HS256" }), &claims, hmac(secret.as_bytes()));
            assert_eq!(verifier.verify(&hs, at(1)), Err(Refused::Algorithm));
            let own = json!({ "alg": pair.algorithm.name() });
            let as_own = sign(&own, &claims, hmac(secret.as_bytes()));
            assert_eq!(verifier.verify(&as_own, at(1)), Err(Refused::Signature));
        }
        assert!(Key::read(Algorithm::Hs256, &pair.pem).unwrap_err().contains("could sign"));
    });
}

#[test]
fn no_signature_is_no_algorithm() {
    for alg in ["none", "None", "NONE", "nOnE", "", "HS384", "RS256", "hs256"] {
        for header in [json!({ "alg": alg }), json!({ "alg": alg, "typ": "JWT" })] {
            let token = sign(&header, &json!({ "sub": "a", "exp": 100 }), |_| Vec::new());
            assert_eq!(hs256(rules()).verify(&token, at(1)), Err(Refused::Algorithm), "{alg}");
        }
    }
}

#[test]
fn the_key_id_chooses_and_an_unknown_one_is_refused() {
    let (ec, ed, stranger) = (ec_pair(), ed_pair(), ed_pair());
    let named = |jwk: &Value, id: &str| {
        let mut jwk = jwk.clone();
        jwk["kid"] = id.into();
        jwk
    };
    let set = json!({ "keys": [named(&ec.jwk, "ec"), named(&ed.jwk, "ed")] }).to_string();
    let verifier = Verifier::new(Keys::of_set(&set, &ALL).unwrap(), rules());
    let token = |pair: &Pair, header: Value| {
        let claims = json!({ "sub": "alice", "exp": 100 });
        verifier.verify(&sign(&header, &claims, &pair.sign), at(1)).map(|_| ())
    };
    assert_eq!(token(&ec, json!({ "alg": "ES256", "kid": "ec" })), Ok(()));
    assert_eq!(token(&ed, json!({ "alg": "EdDSA", "kid": "ed" })), Ok(()));
    assert_eq!(token(&ed, json!({ "alg": "EdDSA", "kid": "other" })), Err(Refused::Key));
    assert_eq!(token(&ed, json!({ "alg": "EdDSA" })), Err(Refused::Key));
    assert_eq!(token(&ed, json!({ "alg": "EdDSA", "kid": "ec" })), Err(Refused::Algorithm));
    assert_eq!(token(&stranger, json!({ "alg": "EdDSA", "kid": "ed" })), Err(Refused::Signature));
    assert_eq!(token(&ed, json!({ "alg": "RS256", "kid": "ed" })), Err(Refused::Algorithm));
}

#[test]
fn keys_that_a_token_brings_along_are_not_asked() {
    let (ours, theirs) = (ed_pair(), ed_pair());
    let keys = Keys::one(Key::read(Algorithm::EdDsa, &ours.pem).unwrap());
    let verifier = Verifier::new(keys, rules());
    let header =
        json!({ "alg": "EdDSA", "jwk": theirs.jwk, "jku": "http://127.0.0.1:1/", "x5u": "x" });
    let token = sign(&header, &json!({ "sub": "alice", "exp": 100 }), &theirs.sign);
    assert_eq!(verifier.verify(&token, at(1)), Err(Refused::Signature));
}

#[test]
fn times_are_kept_to_the_second_with_leeway() {
    let verifier = hs256(Rules { leeway: Duration::from_secs(30), ..rules() });
    let verify = |claims: Value, now| verifier.verify(&said(&claims), at(now)).map(|_| ());
    let claims = || json!({ "sub": "a", "exp": 1000, "nbf": 500 });
    assert_eq!(verify(claims(), 1029), Ok(()));
    assert_eq!(verify(claims(), 1030), Err(Refused::Expired));
    assert_eq!(verify(claims(), 470), Ok(()));
    assert_eq!(verify(claims(), 469), Err(Refused::NotYet));
    assert_eq!(verify(json!({ "sub": "a", "exp": 1000.5 }), 1030), Ok(()));
}

#[test]
fn a_time_that_is_none_is_refused_and_not_left_out() {
    let wrong = [json!("1000"), json!(null), json!(true), json!(-1), json!(1e300), json!([1000])];
    for time in wrong {
        let late = json!({ "sub": "a", "exp": time });
        assert_eq!(hs256(rules()).verify(&said(&late), at(1)), Err(Refused::Claims), "{late}");
        let early = json!({ "sub": "a", "exp": 1000, "nbf": time });
        assert_eq!(hs256(rules()).verify(&said(&early), at(1)), Err(Refused::Claims), "{early}");
    }
    assert_eq!(hs256(rules()).verify(&said(&json!({ "sub": "a" })), at(1)), Err(Refused::Claims));
}

#[test]
fn issuer_and_audience_must_be_as_configured() {
    let strict = hs256(Rules {
        issuer: Some("https://id".into()),
        audience: vec!["fairlead".into(), "other".into()],
        ..rules()
    });
    let verify = |verifier: &Verifier, iss: Value, aud: Value| {
        let mut claims = json!({ "sub": "a", "exp": 100, "iss": iss, "aud": aud });
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        verifier.verify(&said(&claims), at(1)).map(|_| ())
    };
    let id = || json!("https://id");
    assert_eq!(verify(&strict, id(), json!("fairlead")), Ok(()));
    assert_eq!(verify(&strict, id(), json!(["x", "other"])), Ok(()));
    for wrong in [json!(null), json!("https://id/"), json!(["https://id"])] {
        assert_eq!(verify(&strict, wrong, json!("fairlead")), Err(Refused::Issuer));
    }
    for wrong in [json!(null), json!("Fairlead"), json!([]), json!([1]), json!({ "a": "fairlead" })]
    {
        assert_eq!(verify(&strict, id(), wrong), Err(Refused::Audience));
    }
    // Meant for somebody, and nobody said that it is us.
    assert_eq!(verify(&hs256(rules()), id(), json!("x")), Err(Refused::Audience));
    assert_eq!(verify(&hs256(rules()), id(), json!(null)), Ok(()));
}

#[test]
fn who_has_no_name_is_refused() {
    let named =
        hs256(Rules { user_claim: "email".into(), tenant_claim: Some("org".into()), ..rules() });
    let verify = |mut claims: Value| {
        claims["exp"] = 100.into();
        named.verify(&said(&claims), at(1)).map(|claim| (claim.tenant, claim.user))
    };
    let found = verify(json!({ "email": "a@x", "org": "x" })).unwrap();
    assert_eq!((found.0.as_deref(), found.1.as_deref()), (Some("x"), Some("a@x")));
    for claims in [
        json!({ "sub": "a", "org": "x" }),
        json!({ "email": "a@x" }),
        json!({ "email": "", "org": "x" }),
        json!({ "email": 7, "org": "x" }),
        json!({ "email": "a\nb", "org": "x" }),
        json!({ "email": "a".repeat(257), "org": "x" }),
        json!({ "email": "a", "org": null }),
    ] {
        assert_eq!(verify(claims.clone()), Err(Refused::Claims), "{claims}");
    }
}

#[test]
fn what_is_no_token_is_malformed() {
    let good = alice(&json!({ "alg": "HS256" }));
    let (message, tag) = good.rsplit_once('.').unwrap();
    let twice = format!("{}.{}", b64(r#"{"alg":"HS256","alg":"none"}"#), b64("{}"));
    let wrong = [
        String::new(),
        "..".into(),
        message.to_owned(),
        format!("{good}."),
        format!("{good}="),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{message}.{tag}+/"),
        format!("{twice}.{tag}"),
        alice(&json!({ "alg": "HS256", "crit": ["b64"], "b64": false })),
        alice(&json!({ "alg": "HS256", "kid": 7 })),
        alice(&json!({ "alg": ["HS256"] })),
        alice(&json!([])),
        "a".repeat(MAX_TOKEN + 1),
    ];
    for token in &wrong {
        assert_eq!(hs256(rules()).verify(token, at(1)), Err(Refused::Malformed), "{token}");
    }
}

#[test]
fn weak_and_wrong_keys_are_refused() {
    let read = |algorithm, text: &str| Key::read(algorithm, text).unwrap_err();
    assert!(read(Algorithm::Hs256, "short").contains("shorter than 32 bytes"));
    let small = rsa_of(1024).to_public_key().to_public_key_pem(LineEnding::LF).unwrap();
    assert!(read(Algorithm::Rs256, &small).contains("2048 to 8192 bits"));
    let private = rsa_of(1024).to_pkcs8_pem(LineEnding::LF).unwrap();
    assert!(read(Algorithm::Rs256, &private).contains("private key"));
    each(|pair| {
        for other in ALL.into_iter().filter(|a| *a != pair.algorithm) {
            assert!(read(other, &pair.pem).starts_with("not a public key for "), "{other:?}");
        }
        assert!(read(pair.algorithm, "x").starts_with("not a public key for "));
    });
}

#[test]
fn a_set_holds_the_keys_that_serve_and_says_what_is_wrong() {
    let ed = ed_pair();
    let read = |keys: Value| Keys::of_set(&json!({ "keys": keys }).to_string(), &ALL);
    let other = |name: &str, value: &str| {
        let mut jwk = ed.jwk.clone();
        jwk[name] = value.into();
        jwk
    };
    let oct = json!({ "kty": "oct", "k": b64(SECRET) });
    let kept = format!("{:?}", read(json!([oct, ed.jwk, other("use", "enc")])).unwrap());
    assert_eq!((kept.matches(" key ").count(), kept.matches("EdDSA key").count()), (1, 1));
    for none in
        [json!([]), json!([oct]), json!([other("use", "enc")]), json!([other("alg", "ES256")])]
    {
        assert!(read(none).unwrap_err().starts_with("no key in it serves RS256 or ES256 or EdDSA"));
    }
    let broken = |jwk: Value, why: &str| {
        let said = read(json!([jwk])).unwrap_err();
        assert!(said.contains(why), "{said}");
    };
    broken(other("x", "AAAA"), "key 1.: an EdDSA key is one of Ed25519");
    broken(other("x", "!"), "\"x\" is not base64url");
    broken(json!({ "kty": "RSA", "kid": "k", "e": "AQAB" }), "key \"k\": \"n\" is missing");
    broken(json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" }), "2048 to 8192 bits");
    assert!(read(json!([ed.jwk, ed.jwk])).unwrap_err().contains("another with this kid"));
    assert!(Keys::of_set("{", &ALL).unwrap_err().starts_with("not a JWK Set: "));
}

#[test]
fn no_key_prints_itself() {
    let verifier = hs256(rules());
    let shown = format!("{verifier:?}");
    assert!(shown.contains("HS256") && !shown.contains("made for this test"), "{shown}");
    assert!(!shown.contains(&format!("{:?}", SECRET.as_bytes())));
}
