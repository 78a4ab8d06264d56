//! Who may use a session: a pure function of the caller, the session's owner and its grants. It never looks at a
//! message, and knows no store.

use std::sync::Arc;

use crate::caller::{Caller, Owner, Trust};

/// Whom a session belongs to that this caller makes. `named`: the user that the session's id names, if the listener
/// reads one from it.
pub fn owner_of_new(caller: &Caller, named: Option<&str>) -> Owner {
    let user = match caller.trust {
        Trust::User => caller.user.clone(),
        Trust::Backend => named.map(Arc::from).or_else(|| caller.user.clone()),
    };
    Owner { realm: caller.realm.clone(), user }
}

/// Whether the caller may use a session of this owner. `grants`: whom else its owner lets in; without a user, the
/// whole realm.
pub fn may_use(caller: &Caller, owner: &Owner, grants: &[Owner]) -> bool {
    is(caller, owner) || grants.iter().any(|grantee| is_granted(caller, grantee))
}

fn is(caller: &Caller, owner: &Owner) -> bool {
    caller.realm == owner.realm
        && match caller.trust {
            Trust::Backend => true,
            Trust::User => caller.user == owner.user,
        }
}

fn is_granted(caller: &Caller, grantee: &Owner) -> bool {
    is(caller, grantee) || grantee.user.is_none() && caller.realm == grantee.realm
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::{Proof, Realm};
    use proptest::prelude::*;

    fn realm() -> impl Strategy<Value = Realm> {
        prop_oneof![
            prop_oneof!["a", "a-b"].prop_map(|t| Realm::Tenant(t.as_str().into())),
            Just(Realm::Common),
            prop_oneof!["a", "sdk"].prop_map(|l| Realm::Listener(l.as_str().into())),
        ]
    }

    fn user() -> impl Strategy<Value = Option<Arc<str>>> {
        prop::option::of(prop_oneof!["al", "al-b", "bo"].prop_map(|u| Arc::from(u.as_str())))
    }

    fn caller() -> impl Strategy<Value = Caller> {
        let trust = prop_oneof![Just(Trust::User), Just(Trust::Backend)];
        (realm(), user(), trust).prop_map(|(realm, user, trust)| Caller {
            realm,
            user,
            proof: Proof::Token,
            trust,
        })
    }

    fn owner() -> impl Strategy<Value = Owner> {
        (realm(), user()).prop_map(|(realm, user)| Owner { realm, user })
    }

    proptest! {
        #[test]
        fn who_makes_a_session_may_use_it(caller in caller(), named in user()) {
            let owner = owner_of_new(&caller, named.as_deref());
            prop_assert!(may_use(&caller, &owner, &[]));
        }

        #[test]
        fn nobody_leaves_its_realm_without_a_grant(caller in caller(), owner in owner()) {
            if may_use(&caller, &owner, &[]) {
                prop_assert_eq!(&caller.realm, &owner.realm);
            }
        }

        #[test]
        fn a_user_uses_its_own_sessions_alone(caller in caller(), other in caller(), named in user()) {
            let owner = owner_of_new(&other, named.as_deref());
            if caller.trust == Trust::User && may_use(&caller, &owner, &[]) {
                prop_assert_eq!(caller.user, owner.user);
            }
        }

        #[test]
        fn a_grant_lets_in_whom_it_names_and_nobody_else(caller in caller(), owner in owner(), grant in owner()) {
            let before = may_use(&caller, &owner, &[]);
            let after = may_use(&caller, &owner, std::slice::from_ref(&grant));
            prop_assert!(after || !before);
            if after && !before {
                prop_assert_eq!(&caller.realm, &grant.realm);
                let meant = grant.user.is_none() || caller.user == grant.user || caller.trust == Trust::Backend;
                prop_assert!(meant);
            }
        }
    }
}
