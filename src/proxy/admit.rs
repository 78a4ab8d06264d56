//! Who is calling, and by which key its sessions are placed.

use crate::config::{Affinity, Identity};
use crate::upstream::pool::Key;

/// How a listener names the key of a session. Until callers prove who they are, the session's id is all there is.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Asked in this order; the first that yields wins.
    pub identity: Vec<Identity>,
    /// What the pool's policy cares for; `None`: nothing.
    pub affinity: Option<Affinity>,
}

impl Keys {
    /// The key of a session.
    pub fn of(&self, session: &str) -> Key {
        let Some(affinity) = self.affinity else {
            return Key { text: session.to_owned(), no_user: false };
        };
        let found = match affinity {
            Affinity::Session => Some(session.to_owned()),
            Affinity::User | Affinity::Tenant => {
                self.identity.iter().find_map(|identity| named(identity, affinity, session))
            }
        };
        match found {
            Some(text) => Key { text, no_user: false },
            None => Key { text: session.to_owned(), no_user: true },
        }
    }
}

fn named(identity: &Identity, affinity: Affinity, session: &str) -> Option<String> {
    match identity {
        Identity::SessionId(pattern) => {
            let named = pattern.named(session)?;
            let (tenant, user) = (named.tenant, named.user);
            match affinity {
                Affinity::Tenant => tenant.map(str::to_owned),
                // Two tenants may each have an `alice`.
                Affinity::User => user.map(|u| format!("{}\0{u}", tenant.unwrap_or_default())),
                Affinity::Session => None,
            }
        }
        // What a conn proved is not of its sessions' ids.
        Identity::Token(_) | Identity::Jwt(_) | Identity::SourceIp(_) => None,
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
        assert_eq!(keys.of("user-al-1"), keys.of("user-al-2"));
        assert_ne!(keys.of("user-al-1"), keys.of("user-alice-1"));
    }

    #[test]
    fn an_id_that_names_no_user_is_its_own_key() {
        let keys = keys(Affinity::User);
        let key = Key { text: "other".into(), no_user: true };
        assert_eq!(keys.of("other"), key);
        let keys = Keys { affinity: None, ..keys };
        assert!(!keys.of("other").no_user);
    }
}
