//! Who gets in and who may use what, as the operator says it. Decides nothing.

use std::sync::Arc;

use super::Pattern;
use crate::caller::{Owner, Realm};

/// Whether a client that proves nothing is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Authentication {
    /// It is refused.
    Required,
    /// It is an anonymous caller of its listener.
    Optional,
}

/// Whose a session is that exists on a CLI and that nobody is known to own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownSessions {
    /// Nobody's: it does not exist for any caller.
    Deny,
    /// Its id says it, by the pattern of `session_id`; without a match nobody's.
    Pattern,
    /// The first caller's that asks for it.
    Adopt,
}

/// How long a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sessions {
    /// Until somebody deletes it.
    Persistent,
    /// As long as a client has it.
    Ephemeral,
}

/// `[[pool.grant]]`: whom else the owner of some sessions lets in. At least one of the lists is not empty.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Which sessions: what the whole id matches.
    pub session: Pattern,
    /// The tenants; empty: the owner's own.
    pub tenants: Vec<Arc<str>>,
    /// Their users; empty: all of them.
    pub users: Vec<Arc<str>>,
}

impl Grant {
    /// Whom it lets into a session whose owner is of this realm.
    pub fn grantees(&self, realm: &Realm) -> Vec<Owner> {
        let realms = match self.tenants.as_slice() {
            [] => vec![realm.clone()],
            tenants => tenants.iter().map(|tenant| Realm::Tenant(Arc::clone(tenant))).collect(),
        };
        let owners = realms.into_iter().flat_map(|realm| {
            let whole = self.users.is_empty().then(|| Owner { realm: realm.clone(), user: None });
            let users = self
                .users
                .iter()
                .map(move |user| Owner { realm: realm.clone(), user: Some(Arc::clone(user)) });
            whole.into_iter().chain(users)
        });
        owners.collect()
    }
}

words! {
    Authentication { "required" => Required, "optional" => Optional }
    Sessions { "persistent" => Persistent, "ephemeral" => Ephemeral }
    UnknownSessions { "deny" => Deny, "pattern" => Pattern, "adopt" => Adopt }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(tenants: &[&str], users: &[&str]) -> Vec<String> {
        let list = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
        let session = Pattern::new("shared-.*").unwrap();
        let grant = Grant { session, tenants: list(tenants), users: list(users) };
        let found = grant.grantees(&Realm::Common);
        found.iter().map(|o| format!("{:?} {:?}", o.realm, o.user)).collect()
    }

    #[test]
    fn users_are_of_the_named_tenants_or_of_the_owners_own() {
        assert_eq!(grant(&[], &["bob"]), ["Common Some(\"bob\")"]);
        assert_eq!(grant(&["a"], &[]), ["Tenant(\"a\") None"]);
        assert_eq!(
            grant(&["a", "b"], &["x", "y"]),
            [
                "Tenant(\"a\") Some(\"x\")",
                "Tenant(\"a\") Some(\"y\")",
                "Tenant(\"b\") Some(\"x\")",
                "Tenant(\"b\") Some(\"y\")",
            ]
        );
    }
}
