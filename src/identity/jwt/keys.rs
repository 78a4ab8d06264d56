//! Keys that tokens may be signed with. Each has exactly one algorithm, given by what kind of key it is.
//!
//! Parses PEM and JWK Sets that it is handed; fetches nothing, and never prints a key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, DecodingKeyKind};
use ring::{hmac, signature};
use serde::Deserialize;

use super::Refused;

/// The shortest secret: as long as the hash (RFC 7518, 3.2).
const MIN_SECRET: usize = 32;
/// The shortest RSA modulus, in bytes (RFC 7518, 3.3).
const MIN_MODULUS: usize = 256;
/// The longest one: verifying takes longer with each bit.
const MAX_MODULUS: usize = 1024;
/// A point of P-256 as it is written: one byte, then both coordinates.
const P256_POINT: usize = 65;
const ED25519_KEY: usize = 32;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256: who can verify can sign.
    Hs256,
    /// RSA (PKCS #1 v1.5) with SHA-256.
    Rs256,
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Its name in RFC 7518 and 8037.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Hs256 => "HS256",
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
            Algorithm::EdDsa => "EdDSA",
        }
    }
}

/// One key, with the one algorithm that it serves.
#[derive(Clone)]
pub struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} key {:?}", self.algorithm.name(), self.id)
    }
}

impl Key {
    /// The key in `text`: the secret itself for HS256, else a public key as PEM. Fails with a sentence without the key.
    pub fn read(algorithm: Algorithm, text: &str) -> Result<Self, String> {
        let pem = text.contains("-----BEGIN");
        if algorithm == Algorithm::Hs256 {
            return if pem {
                Err("HS256 needs a secret, this is a PEM file: who has the public key could sign"
                    .into())
            } else {
                Key::secret(text)
            };
        }
        if text.contains("PRIVATE KEY-----") {
            return Err(
                "this is a private key: only the issuer should have it; its public key is wanted"
                    .into(),
            );
        }
        let bytes = text.as_bytes();
        let read = match algorithm {
            Algorithm::Rs256 => DecodingKey::from_rsa_pem(bytes),
            Algorithm::Es256 => DecodingKey::from_ec_pem(bytes),
            Algorithm::EdDsa | Algorithm::Hs256 => DecodingKey::from_ed_pem(bytes),
        };
        let wanted = format!("not a public key for {} as PEM", algorithm.name());
        Key { id: None, algorithm, key: read.map_err(|_| wanted)? }.sound()
    }

    fn secret(text: &str) -> Result<Self, String> {
        if text.len() < MIN_SECRET {
            let why = format!("the secret is shorter than {MIN_SECRET} bytes: it could be guessed");
            return Err(why);
        }
        let key = DecodingKey::from_secret(text.as_bytes());
        Ok(Key { id: None, algorithm: Algorithm::Hs256, key })
    }

    /// Whether the key can serve its algorithm at all.
    fn sound(self) -> Result<Self, String> {
        let sizes = |bytes: usize| (MIN_MODULUS..=MAX_MODULUS).contains(&bytes);
        let sound = match (self.algorithm, self.key.kind()) {
            (Algorithm::Hs256, _) => true,
            (Algorithm::Rs256, DecodingKeyKind::RsaModulusExponent { n, .. }) => sizes(n.len()),
            // The modulus with a few bytes around it.
            (Algorithm::Rs256, DecodingKeyKind::SecretOrDer(der)) => {
                sizes(der.len().saturating_sub(18)) || sizes(der.len().saturating_sub(8))
            }
            (Algorithm::Es256, DecodingKeyKind::SecretOrDer(point)) => {
                point.len() == P256_POINT && point.first() == Some(&4)
            }
            (Algorithm::EdDsa, DecodingKeyKind::SecretOrDer(key)) => key.len() == ED25519_KEY,
            (Algorithm::Es256 | Algorithm::EdDsa, DecodingKeyKind::RsaModulusExponent { .. }) => {
                false
            }
        };
        if sound {
            return Ok(self);
        }
        Err(match self.algorithm {
            Algorithm::Rs256 => "an RSA key has 2048 to 8192 bits".into(),
            Algorithm::Es256 => "an ES256 key is a point of P-256".into(),
            Algorithm::EdDsa => "an EdDSA key is one of Ed25519, 32 bytes".into(),
            Algorithm::Hs256 => "this is no secret".into(),
        })
    }

    /// Whether this key made the signature of the message.
    pub(super) fn signed(&self, message: &[u8], tag: &[u8]) -> bool {
        use signature::UnparsedPublicKey as Public;
        let verified = match (self.algorithm, self.key.kind()) {
            (Algorithm::Hs256, DecodingKeyKind::SecretOrDer(secret)) => {
                hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), message, tag)
            }
            (Algorithm::Rs256, DecodingKeyKind::SecretOrDer(der)) => {
                Public::new(&signature::RSA_PKCS1_2048_8192_SHA256, der).verify(message, tag)
            }
            (Algorithm::Rs256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                signature::RsaPublicKeyComponents { n, e }.verify(
                    &signature::RSA_PKCS1_2048_8192_SHA256,
                    message,
                    tag,
                )
            }
            (Algorithm::Es256, DecodingKeyKind::SecretOrDer(point)) => {
                Public::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(message, tag)
            }
            (Algorithm::EdDsa, DecodingKeyKind::SecretOrDer(key)) => {
                Public::new(&signature::ED25519, key).verify(message, tag)
            }
            (
                Algorithm::Hs256 | Algorithm::Es256 | Algorithm::EdDsa,
                DecodingKeyKind::RsaModulusExponent { .. },
            ) => return false,
        };
        verified.is_ok()
    }
}

/// All keys of one issuer.
#[derive(Clone, Debug)]
pub struct Keys {
    keys: Vec<Key>,
    /// Of a set: a token must say which key it means, unless there is one only.
    named: bool,
}

/// One key of a JWK Set (RFC 7517), as far as it is used.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Jwk>,
}

impl Keys {
    /// The one key of an issuer, whatever its tokens call it.
    pub fn one(key: Key) -> Self {
        Keys { keys: vec![key], named: false }
    }

    /// The public keys of a JWK Set that serve one of `algorithms`; others in it are left out. Fails with a sentence.
    pub fn of_set(text: &str, algorithms: &[Algorithm]) -> Result<Self, String> {
        let set: JwkSet =
            serde_json::from_str(text).map_err(|why| format!("not a JWK Set: {why}"))?;
        let mut keys: Vec<Key> = Vec::new();
        for (at, jwk) in set.keys.iter().enumerate() {
            let called =
                jwk.kid.as_deref().map_or_else(|| format!("{}.", at + 1), |id| format!("{id:?}"));
            let read = jwk.read(algorithms).map_err(|why| format!("key {called}: {why}"))?;
            let Some(key) = read else { continue };
            if keys.iter().any(|other| other.id == key.id) {
                return Err(format!("key {called}: there is another with this kid"));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            let wanted: Vec<_> = algorithms.iter().map(|a| a.name()).collect();
            return Err(format!("no key in it serves {}", wanted.join(" or ")));
        }
        Ok(Keys { keys, named: true })
    }

    /// The key that a token's header means.
    pub(super) fn choose(&self, algorithm: &str, id: Option<&str>) -> Result<&Key, Refused> {
        let fits = |key: &&Key| key.algorithm.name() == algorithm;
        if !self.keys.iter().any(|key| fits(&key)) {
            return Err(Refused::Algorithm);
        }
        let found = match (self.named, id, self.keys.as_slice()) {
            (false, _, [key]) | (true, None, [key]) => Some(key),
            (true, Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
            (_, _, _) => None,
        };
        found
            .ok_or(Refused::Key)
            .and_then(|key| if fits(&key) { Ok(key) } else { Err(Refused::Algorithm) })
    }
}

impl Jwk {
    /// Nothing for a key that serves none of `algorithms`.
    fn read(&self, algorithms: &[Algorithm]) -> Result<Option<Key>, String> {
        let Some(algorithm) = self.algorithm().filter(|a| algorithms.contains(a)) else {
            return Ok(None);
        };
        let part = |name: &str, value: &Option<String>| {
            let text = value.as_ref().ok_or_else(|| format!("{name:?} is missing"))?;
            URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("{name:?} is not base64url"))
        };
        let key = match algorithm {
            Algorithm::Rs256 => {
                let (n, e) = (part("n", &self.n)?, part("e", &self.e)?);
                DecodingKey::from_rsa_raw_components(without_zeros(&n), without_zeros(&e))
            }
            Algorithm::Es256 => {
                let point = [vec![4], part("x", &self.x)?, part("y", &self.y)?].concat();
                DecodingKey::from_ec_der(&point)
            }
            Algorithm::EdDsa => DecodingKey::from_ed_der(&part("x", &self.x)?),
            Algorithm::Hs256 => return Ok(None),
        };
        Key { id: self.kid.clone(), algorithm, key }.sound().map(Some)
    }

    /// What the key can serve, unless it says that it is for something else. A set is public: no secret counts in it.
    fn algorithm(&self) -> Option<Algorithm> {
        let kind = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Algorithm::Rs256,
            ("EC", Some("P-256")) => Algorithm::Es256,
            ("OKP", Some("Ed25519")) => Algorithm::EdDsa,
            (_, _) => return None,
        };
        let signs = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        let same = self.alg.as_deref().is_none_or(|alg| alg == kind.name());
        (signs && same).then_some(kind)
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
