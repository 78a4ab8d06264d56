//! Who is calling, and by which key its sessions are placed.

use crate::caller::Claim;
use crate::config::{Affinity, Identity, who};
use crate::identity::{Shown, Who, mtls, proxy_tlv};
use crate::upstream::pool::Key;

/// How a listener names the key of a session. Until callers prove who they are, the session's id is all there is.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Asked in this order; the first that yields wins.
    pub identity: Vec<Identity>,
    /// What the pool's policy cares for; `None`: nothing.
    pub affinity: Option<Affinity>,
}

/// Whom a conn proved before its first frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The proof.
    pub claim: Claim,
    /// In words, for the log: `alice (mtls)`.
    pub words: String,
}

impl Keys {
    /// Whom a conn proves by what it shows: the first identity that finds somebody there.
    pub fn proven(&self, shown: &Shown) -> Option<Proven> {
        let claim = self.identity.iter().find_map(|identity| shown_by(identity, shown))?;
        let name = claim.user.as_deref().or(claim.tenant.as_deref()).unwrap_or_default();
        let words = format!("{name} ({})", claim.proof.slug());
        Some(Proven { claim, words })
    }

    /// The key of a session that a conn names; `shown`: what the conn showed.
    pub fn of(&self, session: &str, shown: Option<&Shown>) -> Key {
        let Some(affinity) = self.affinity else {
            return Key { text: session.to_owned(), no_user: false };
        };
        let found = match affinity {
            Affinity::Session => Some(session.to_owned()),
            Affinity::User | Affinity::Tenant => {
                self.identity.iter().find_map(|identity| named(identity, affinity, session, shown))
            }
        };
        match found {
            Some(text) => Key { text, no_user: false },
            None => Key { text: session.to_owned(), no_user: true },
        }
    }
}

fn shown_by(identity: &Identity, shown: &Shown) -> Option<Claim> {
    match identity {
        Identity::SessionId(_) => None,
        Identity::Mtls(field, pattern) => {
            let names = shown.certificate.as_ref()?;
            mtls::claim(names, *field, |text| who(pattern.as_ref(), text))
        }
        Identity::ProxyTlv(field, pattern) => {
            let header = shown.proxied.as_ref()?;
            proxy_tlv::claim(header, *field, |text| who(pattern.as_ref(), text))
        }
    }
}

fn named(
    identity: &Identity,
    affinity: Affinity,
    session: &str,
    shown: Option<&Shown>,
) -> Option<String> {
    let Who { tenant, user } = match identity {
        Identity::SessionId(pattern) => who(Some(pattern), session)?,
        Identity::Mtls(..) | Identity::ProxyTlv(..) => {
            let Claim { tenant, user, .. } = shown_by(identity, shown?)?;
            Who { tenant, user }
        }
    };
    match affinity {
        Affinity::Tenant => tenant.map(|tenant| tenant.to_string()),
        // Two tenants may each have an `alice`.
        Affinity::User => user.map(|u| format!("{}\0{u}", tenant.as_deref().unwrap_or_default())),
        Affinity::Session => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Pattern;

    fn keys(affinity: Affinity) -> Keys {
        let pattern = Pattern::new("^user-(?<user>.+)-[^-]+$").unwrap();
        Keys { identity: vec![Identity::SessionId(pattern)], affinity: Some(affinity) }
    }

    #[test]
    fn sessions_of_a_user_share_a_key() {
        let keys = keys(Affinity::User);
        assert_eq!(keys.of("user-al-1", None), keys.of("user-al-2", None));
        assert_ne!(keys.of("user-al-1", None), keys.of("user-alice-1", None));
    }

    #[test]
    fn an_id_that_names_no_user_is_its_own_key() {
        let keys = keys(Affinity::User);
        let key = Key { text: "other".into(), no_user: true };
        assert_eq!(keys.of("other", None), key);
        let keys = Keys { affinity: None, ..keys };
        assert!(!keys.of("other", None).no_user);
    }
}
