//! Who is calling, by which key its sessions are placed, and which of them outlive it.

use crate::caller::{Caller, Trust};
use crate::config::{Affinity, Identity, Pattern};
use crate::id::SessionId;
use crate::ledger::Class;
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
    /// The key of a session that this caller wants. What is proven of the caller counts for more than what the session's
    /// id says.
    pub fn of(&self, caller: &Caller, session: &str) -> Key {
        let named = self.identity.iter().find_map(|identity| match identity {
            Identity::SessionId(pattern) => pattern.named(session),
            // What a conn proved is not of its sessions' ids.
            Identity::Token(_)
            | Identity::Jwt(_)
            | Identity::Mtls(_)
            | Identity::ProxyTlv(_)
            | Identity::SourceIp(_) => None,
        });
        let tenant = caller.tenant().or(named.and_then(|n| n.tenant));
        let proven = caller.user.as_deref().filter(|_| caller.trust == Trust::User);
        let claimed = named.and_then(|n| n.user);
        let user = proven.or(claimed).or(caller.user.as_deref());
        let text = match self.affinity {
            None | Some(Affinity::Session) => Some(session.to_owned()),
            Some(Affinity::Tenant) => tenant.map(str::to_owned),
            // Two tenants may each have an `alice`.
            Some(Affinity::User) => user.map(|u| format!("{}\0{u}", tenant.unwrap_or_default())),
        };
        let no_user = text.is_none();
        let text = text.unwrap_or_else(|| session.to_owned());
        Key { text, no_user, named: claimed.map(Into::into) }
    }
}

/// How a listener tells sessions that outlive their clients from those that do not.
#[derive(Clone, Debug)]
pub struct Classes {
    /// Ids that match as a whole are of ephemeral sessions.
    pub ephemeral: Option<Pattern>,
    /// What all others are.
    pub others: Class,
}

impl Classes {
    /// The class of a session that is made under this id.
    pub fn of(&self, session: &SessionId) -> Class {
        let fits = |pattern: &Pattern| pattern.named(session.as_str()).is_some();
        if self.ephemeral.as_ref().is_some_and(fits) { Class::Ephemeral } else { self.others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(affinity: Affinity) -> Keys {
        let pattern = Pattern::new("^user-(?<user>.+)-[^-]+$").unwrap();
        Keys { identity: vec![Identity::SessionId(pattern)], affinity: Some(affinity) }
    }

    fn of(keys: &Keys, session: &str) -> Key {
        keys.of(&Caller::anonymous("sdk"), session)
    }

    #[test]
    fn sessions_of_a_user_share_a_key() {
        let keys = keys(Affinity::User);
        assert_eq!(of(&keys, "user-al-1"), of(&keys, "user-al-2"));
        assert_ne!(of(&keys, "user-al-1"), of(&keys, "user-alice-1"));
    }

    #[test]
    fn what_is_proven_counts_for_more_than_what_an_id_says() {
        let keys = keys(Affinity::User);
        let bo = Caller { user: Some("bo".into()), trust: Trust::User, ..Caller::anonymous("sdk") };
        assert_eq!(keys.of(&bo, "user-al-1").text, "\0bo");
        let backend = Caller { trust: Trust::Backend, ..bo };
        assert_eq!(keys.of(&backend, "user-al-1").text, "\0al");
        assert_eq!(keys.of(&backend, "other").text, "\0bo");
    }

    #[test]
    fn an_id_that_names_no_user_is_its_own_key() {
        let keys = keys(Affinity::User);
        let key = Key { text: "other".into(), no_user: true, named: None };
        assert_eq!(of(&keys, "other"), key);
        let keys = Keys { affinity: None, ..keys };
        assert!(!of(&keys, "other").no_user);
    }
}
