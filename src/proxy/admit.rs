//! Who is calling, by which key its sessions are placed, and which of them outlive it.

use crate::caller::{Caller, Trust};
use crate::config::{Affinity, Identity, Pattern};
use crate::id::SessionId;
use crate::identity::request::{Named, Presented};
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
            | Identity::SourceIp(_)
            | Identity::Request(_) => None,
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

    /// Whom a request or a conn is for, as it says itself: of each the first that says it.
    pub fn named(&self, presented: &Presented<'_>) -> Named {
        let rules = self.identity.iter().filter_map(|identity| match identity {
            Identity::Request(rule) => rule.named(presented),
            Identity::SessionId(_)
            | Identity::Token(_)
            | Identity::Jwt(_)
            | Identity::Mtls(_)
            | Identity::ProxyTlv(_)
            | Identity::SourceIp(_) => None,
        });
        rules.fold(Named::default(), Named::or)
    }

    /// The key of what this caller wants, and what that names. What is proven of the caller counts for more. `None`: the
    /// policy asks for none, or there is nothing that could be one.
    pub fn of_named(&self, caller: &Caller, named: &Named) -> Option<Key> {
        let tenant = caller.tenant().or(named.tenant.as_deref());
        let proven = caller.user.as_deref().filter(|_| caller.trust == Trust::User);
        let user = proven.or(named.user.as_deref()).or(caller.user.as_deref());
        // Two tenants may each have an `alice`.
        let user = || user.map(|user| format!("{}\0{user}", tenant.unwrap_or_default()));
        let session = || named.session.as_deref().map(str::to_owned);
        let wanted = match self.affinity? {
            Affinity::User => user(),
            Affinity::Tenant => tenant.map(str::to_owned),
            Affinity::Session => session(),
        };
        let no_user = wanted.is_none();
        let text = wanted.or_else(session).or_else(user)?;
        Some(Key { text, no_user, named: None })
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

    fn named(tenant: Option<&str>, user: Option<&str>, session: Option<&str>) -> Named {
        let text = |text: Option<&str>| text.map(Into::into);
        Named { tenant: text(tenant), user: text(user), session: text(session) }
    }

    #[test]
    fn a_request_has_the_key_that_is_asked_for_or_else_what_it_names() {
        let nobody = Caller::anonymous("web");
        let of = |affinity, tenant, user, session| {
            let keys = Keys { identity: Vec::new(), affinity };
            keys.of_named(&nobody, &named(tenant, user, session)).map(|k| (k.text, k.no_user))
        };
        let user = Some(Affinity::User);
        assert_eq!(of(user, None, Some("al"), Some("s")), Some(("\0al".into(), false)));
        assert_eq!(of(user, Some("a"), Some("al"), None), Some(("a\0al".into(), false)));
        assert_eq!(of(user, None, None, Some("s")), Some(("s".into(), true)));
        assert_eq!(of(user, None, None, None), None);
        let session = Some(Affinity::Session);
        assert_eq!(of(session, None, Some("al"), Some("s")), Some(("s".into(), false)));
        assert_eq!(of(session, None, Some("al"), None), Some(("\0al".into(), true)));
        let tenant = Some(Affinity::Tenant);
        assert_eq!(of(tenant, Some("a"), Some("al"), None), Some(("a".into(), false)));
        assert_eq!(of(None, Some("a"), Some("al"), Some("s")), None, "nothing is hashed");
    }

    #[test]
    fn a_request_cannot_say_that_it_is_for_another_than_who_is_proven() {
        let keys = Keys { identity: Vec::new(), affinity: Some(Affinity::User) };
        let bo = Caller { user: Some("bo".into()), trust: Trust::User, ..Caller::anonymous("web") };
        let says = named(None, Some("al"), None);
        assert_eq!(keys.of_named(&bo, &says).unwrap().text, "\0bo");
        let backend = Caller { trust: Trust::Backend, ..bo };
        assert_eq!(keys.of_named(&backend, &says).unwrap().text, "\0al");
    }
}
