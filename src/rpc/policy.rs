//! Which methods the clients of a listener may call: a pure table over [`methods`], with a default for each.
//!
//! Never asks whose a session is: that is decided where the session is sought. Methods that are in no table are not
//! judged here: only a session of the caller's lets one through.

use super::methods::{self, Method, Never, Route, Tells};

/// Whether those who call on the CLIs of a pool can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callers {
    /// They are one anonymous caller, to whom the CLIs belong.
    One,
    /// They are: what one of them did, or what the operator has, is not the others' to see.
    ToldApart,
}

/// Why a method is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing can allow it.
    Never(Never),
    /// Its answer tells of something that is not the caller's.
    Tells(Tells),
    /// It changes the CLIs for everybody.
    Changes,
    /// The operator took it away.
    Taken,
}

impl Why {
    /// The word for logs.
    pub const fn slug(self) -> &'static str {
        match self {
            Why::Never(_) => "never_allowed",
            Why::Tells(Tells::Account) => "tells_account",
            Why::Tells(Tells::Host) => "tells_host",
            Why::Tells(Tells::Settings) => "tells_settings",
            Why::Tells(Tells::Nothing) => "tells_nothing",
            Why::Changes => "changes_clis",
            Why::Taken => "denied_by_config",
        }
    }
}

/// Whether a method is allowed where the operator says nothing of it; why it is not.
pub const fn by_default(route: Route, callers: Callers) -> Result<(), Why> {
    match (route, callers) {
        (Route::Deny(never), _) => Err(Why::Never(never)),
        (Route::EveryOne, _) => Err(Why::Changes),
        (Route::AnyOne(Tells::Nothing), _) | (Route::AnyOne(_), Callers::One) => Ok(()),
        (Route::AnyOne(tells), Callers::ToldApart) => Err(Why::Tells(tells)),
        // Of sessions that are the caller's, or answered without a CLI.
        (
            Route::Connect
            | Route::Ping
            | Route::Create
            | Route::Resume
            | Route::Session
            | Route::Fork
            | Route::Merge(_)
            | Route::Single(_)
            | Route::Scatter(_)
            | Route::Local(_),
            _,
        ) => Ok(()),
    }
}

/// Whether an operator may take a method away: not if no client could connect without it.
pub const fn can_be_denied(route: Route) -> bool {
    !matches!(route, Route::Connect | Route::Ping)
}

/// What the clients of one listener may call.
#[derive(Clone, Debug)]
pub struct Policy {
    /// By [`Method::index`].
    rules: Box<[Result<(), Why>]>,
}

impl Policy {
    /// The defaults, with `allow` added and `deny` taken away. What can [never](Never) be allowed stays refused, and what
    /// [cannot be denied](can_be_denied) stays allowed.
    pub fn new(callers: Callers, allow: &[&'static Method], deny: &[&'static Method]) -> Self {
        let in_list = |list: &[&'static Method], method: &Method| {
            list.iter().any(|listed| listed.index == method.index)
        };
        let rule = |method: &Method| {
            let route = method.route();
            match by_default(route, callers) {
                Err(never @ Why::Never(_)) => Err(never),
                Ok(()) | Err(_) if in_list(deny, method) && can_be_denied(route) => Err(Why::Taken),
                Err(_) if in_list(allow, method) => Ok(()),
                by_default => by_default,
            }
        };
        Policy { rules: methods::methods().iter().map(rule).collect() }
    }

    /// Whether the method is allowed; why it is not.
    #[inline]
    pub fn judge(&self, method: &Method) -> Result<(), Why> {
        let rule = self.rules.get(usize::from(method.index));
        rule.copied().unwrap_or(Err(Why::Taken))
    }
}

impl Default for Policy {
    /// For one anonymous caller, where the operator says nothing.
    fn default() -> Self {
        Policy::new(Callers::One, &[], &[])
    }
}

#[cfg(test)]
mod tests;
