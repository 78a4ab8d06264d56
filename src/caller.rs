//! Who is calling, as proven, and whom a session belongs to. Words: nothing here proves or decides anything.

use std::sync::Arc;

/// How it was proven who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Not at all.
    Nothing,
    /// By a token in `connect`.
    Token,
    /// By a signed token in `connect`.
    Jwt,
    /// By the client's certificate.
    Mtls,
    /// By what a trusted proxy said of the conn.
    ProxyTlv,
    /// By the address that the conn comes from.
    SourceIp,
    /// By what a trusted proxy said in a header of the request.
    Header,
    /// By the name of a session alone: whoever knows the pattern can claim it.
    SessionId,
}

impl Proof {
    /// The word for configuration, metrics and logs.
    pub const fn slug(self) -> &'static str {
        match self {
            Proof::Nothing => "none",
            Proof::Token => "token",
            Proof::Jwt => "jwt",
            Proof::Mtls => "mtls",
            Proof::ProxyTlv => "proxy_tlv",
            Proof::SourceIp => "source_ip",
            Proof::Header => "header",
            Proof::SessionId => "session_id",
        }
    }
}

/// Whom a conn may act for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// For one user: its sessions are its own.
    User,
    /// For all users of its realm, whom it names by its sessions' ids.
    Backend,
}

/// The circle within which a user's name means somebody.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Realm {
    /// A tenant, proven.
    Tenant(Arc<str>),
    /// All who proved who they are, without a tenant.
    Common,
    /// The clients of one listener that proved nothing, or named themselves.
    Listener(Arc<str>),
}

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Where its name means something.
    pub realm: Realm,
    /// Its name, if it has one.
    pub user: Option<Arc<str>>,
    /// How that was proven.
    pub proof: Proof,
    /// Whom it may act for.
    pub trust: Trust,
}

impl Caller {
    /// A client of this listener of which nothing is known.
    pub fn anonymous(listener: &str) -> Self {
        Caller {
            realm: Realm::Listener(listener.into()),
            user: None,
            proof: Proof::Nothing,
            trust: Trust::Backend,
        }
    }

    /// The proven tenant.
    pub fn tenant(&self) -> Option<&str> {
        match &self.realm {
            Realm::Tenant(tenant) => Some(tenant),
            Realm::Common | Realm::Listener(_) => None,
        }
    }
}

/// Whom a session belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// Where the user's name means something.
    pub realm: Realm,
    /// The user, if one was named.
    pub user: Option<Arc<str>>,
}

/// What a piece of evidence proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The tenant, if it says so.
    pub tenant: Option<Arc<str>>,
    /// The user, if it says so.
    pub user: Option<Arc<str>>,
    /// Whom the conn may act for, if it says so.
    pub trust: Option<Trust>,
    /// What kind of evidence it was.
    pub proof: Proof,
    /// When it is no proof any more.
    pub expires: Option<std::time::SystemTime>,
}

impl Claim {
    /// The caller on this listener. `default`: whom such a conn may act for where the evidence does not say; who has no
    /// name of its own acts for its realm.
    pub fn caller(&self, listener: &str, default: Trust) -> Caller {
        let realm = match (&self.tenant, self.proof) {
            // Anybody can name a session: that proves no tenant.
            (_, Proof::Nothing | Proof::SessionId) => Realm::Listener(listener.into()),
            (Some(tenant), _) => Realm::Tenant(Arc::clone(tenant)),
            (None, _) => Realm::Common,
        };
        let trust = match self.user {
            Some(_) => self.trust.unwrap_or(default),
            None => Trust::Backend,
        };
        Caller { realm, user: self.user.clone(), proof: self.proof, trust }
    }
}
