//! Tokens that somebody else signed (JSON Web Tokens, RFC 7519, in the compact form of RFC 7515).
//!
//! What a token says of itself chooses nothing but one of the configured keys: a key has one algorithm, so there is no
//! `none` and no public key that serves as a secret. Nothing is fetched from where a token points to.

mod keys;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

pub use keys::{Algorithm, Key, Keys};

use super::{MAX_TOKEN, Refused, is_name};
use crate::caller::{Claim, Proof};

/// What a token must say beside its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Who must have issued it (`iss`); `None`: anybody who has the key.
    pub issuer: Option<String>,
    /// For whom it must be (`aud`), one of these; empty: for nobody in particular.
    pub audience: Vec<String>,
    /// The claim that names the user.
    pub user_claim: String,
    /// The claim that names the tenant; it must be there then.
    pub tenant_claim: Option<String>,
    /// How far the issuer's clock may be off.
    pub leeway: Duration,
}

/// Verifies tokens by the keys and rules of one issuer.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: Arc<Keys>,
    rules: Rules,
}

/// The header, as far as it chooses a key. Others of its members say where keys could be had: those are not asked.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// What must be understood, says RFC 7515 (4.1.11). Nothing is.
    crit: Option<IgnoredAny>,
}

impl Verifier {
    /// With these keys and rules.
    pub fn new(keys: Keys, rules: Rules) -> Self {
        Verifier { keys: Arc::new(keys), rules }
    }

    /// What a token must say.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Whom the token is for, and until when it holds (the leeway included).
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Claim, Refused> {
        if token.len() > MAX_TOKEN {
            return Err(Refused::Malformed);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Refused::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(Refused::Malformed)?;
        let header: Header = parse(header)?;
        if header.crit.is_some() || payload.contains('.') {
            return Err(Refused::Malformed);
        }
        let signature = decode(signature)?;
        let key = self.keys.choose(&header.alg, header.kid.as_deref())?;
        if !key.signed(message.as_bytes(), &signature) {
            return Err(Refused::Signature);
        }
        self.read(&parse(payload)?, now)
    }

    fn read(&self, claims: &Map<String, Value>, now: SystemTime) -> Result<Claim, Refused> {
        let expires = self.in_force(claims, now)?;
        if let Some(issuer) = &self.rules.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err(Refused::Issuer);
        }
        if !self.is_for_us(claims.get("aud")) {
            return Err(Refused::Audience);
        }
        let tenant = match &self.rules.tenant_claim {
            Some(claim) => Some(name(claims, claim)?),
            None => None,
        };
        Ok(Claim {
            tenant,
            user: Some(name(claims, &self.rules.user_claim)?),
            trust: None,
            proof: Proof::Jwt,
            expires: Some(expires),
        })
    }

    /// Until when it holds. `exp` must be there; what is there must be a time.
    fn in_force(
        &self,
        claims: &Map<String, Value>,
        now: SystemTime,
    ) -> Result<SystemTime, Refused> {
        let leeway = self.rules.leeway;
        let end = time(claims.get("exp").ok_or(Refused::Claims)?)?;
        let end = end.checked_add(leeway).ok_or(Refused::Claims)?;
        if now >= end {
            return Err(Refused::Expired);
        }
        if let Some(start) = claims.get("nbf") {
            let start = time(start)?;
            if now.checked_add(leeway).is_none_or(|now| now < start) {
                return Err(Refused::NotYet);
            }
        }
        Ok(end)
    }

    /// RFC 7519, 4.1.3: who is not meant by an `aud` that is there must not take the token.
    fn is_for_us(&self, audience: Option<&Value>) -> bool {
        let ours =
            |one: &Value| one.as_str().is_some_and(|a| self.rules.audience.iter().any(|b| a == b));
        match audience {
            Some(Value::Array(several)) => several.iter().any(ours),
            Some(one) => ours(one),
            None => self.rules.audience.is_empty(),
        }
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Refused> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::Malformed)
}

fn parse<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, Refused> {
    serde_json::from_slice(&decode(part)?).map_err(|_| Refused::Malformed)
}

/// A NumericDate: seconds since 1970, perhaps with a fraction.
fn time(value: &Value) -> Result<SystemTime, Refused> {
    let seconds = value.as_f64().ok_or(Refused::Claims)?;
    let since = Duration::try_from_secs_f64(seconds).map_err(|_| Refused::Claims)?;
    SystemTime::UNIX_EPOCH.checked_add(since).ok_or(Refused::Claims)
}

/// The name that a claim holds.
fn name(claims: &Map<String, Value>, claim: &str) -> Result<Arc<str>, Refused> {
    let name = claims.get(claim).and_then(Value::as_str).filter(|name| is_name(name));
    name.map(Arc::from).ok_or(Refused::Claims)
}
