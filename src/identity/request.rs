//! What a request or a conn says of who it is for, without proof: a header, a cookie, a part of the target, a field of
//! the body, an address. It sorts; only a header that a trusted proxy sent proves anything, which [`Rule::trusted`] says.
//!
//! - [`header`], [`cookie`], [`query`], [`path`], [`basic`], [`json`]: where it is read, one file each
//!
//! What is there twice and says two things names nobody.

pub mod basic;
pub mod cookie;
pub mod header;
pub mod json;
pub mod path;
pub mod query;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::pattern::{Pattern, who};
use super::{Who, is_name};
use crate::caller::{Claim, Proof};
use crate::wire::cidr::Cidr;

/// A request, as far as it names somebody.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// Where its client is, which a proxy may have sent it for; `None`: nobody knows.
    pub from: Option<IpAddr>,
    /// The path of its target, as it was sent.
    pub path: &'a str,
    /// What stands behind the question mark.
    pub query: Option<&'a str>,
    /// Its body, where that was looked at.
    pub body: Option<Body<'a>>,
}

/// What is there of a body.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// Its first bytes.
    pub bytes: &'a [u8],
    /// Whether these are all.
    pub whole: bool,
}

/// What a name is read from.
#[derive(Clone, Copy, Default)]
pub struct Presented<'a> {
    /// The request; `None`: there are no requests on this listener.
    pub request: Option<Request<'a>>,
    /// Where the conn comes from, as far as is known.
    pub peer: Option<IpAddr>,
    /// The name that it asked for in TLS, if any.
    pub sni: Option<&'a str>,
}

/// Where a name stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a header field.
    Header(HeaderName),
    /// In a cookie of this name (RFC 6265).
    Cookie(Box<str>),
    /// In a parameter of the query.
    Query(Box<str>),
    /// In a segment of the path, counted from 1.
    Path(usize),
    /// In the user of `Authorization: Basic` (RFC 7617), whose password is not looked at.
    Basic,
    /// In a field of a JSON body.
    Json(json::Pointer),
    /// It is the client's address.
    Address,
    /// It is the name that the client asked for in TLS (SNI, RFC 6066).
    Sni,
}

impl Source {
    /// Its word in the file.
    pub const fn word(&self) -> &'static str {
        match self {
            Source::Header(_) => "header",
            Source::Cookie(_) => "cookie",
            Source::Query(_) => "query",
            Source::Path(_) => "path",
            Source::Basic => "basic",
            Source::Json(_) => "json",
            Source::Address => "source_ip",
            Source::Sni => "sni",
        }
    }

    fn read<'a>(&self, presented: &Presented<'a>) -> Option<Cow<'a, str>> {
        if let Source::Address = self {
            let from = presented.request.map_or(presented.peer, |request| request.from);
            return from.map(|from| from.to_canonical().to_string().into());
        }
        if let Source::Sni = self {
            return presented.sni.filter(|name| is_name(name)).map(Cow::Borrowed);
        }
        let request = presented.request?;
        let text = match self {
            Source::Header(name) => header::find(request.headers, name).map(Cow::Borrowed),
            Source::Cookie(name) => cookie::find(request.headers, name).map(Cow::Borrowed),
            Source::Query(name) => query::find(request.query?, name),
            Source::Path(segment) => path::find(request.path, *segment),
            Source::Basic => basic::find(request.headers).map(Cow::Owned),
            Source::Json(pointer) => pointer.find(request.body?),
            Source::Address | Source::Sni => None,
        };
        text.filter(|text| is_name(text))
    }
}

/// What a text names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Yields {
    /// The user; by the groups of a pattern the tenant too.
    User,
    /// The session; by the groups of a pattern its user and tenant too.
    Session,
}

/// One way to learn whom something is for.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it is read.
    pub source: Source,
    /// What it names.
    pub yields: Yields,
    /// What of it is the user, the tenant; `None`: all of it is what it yields.
    pub pattern: Option<Pattern>,
    /// Who may say it, and is then believed; `None`: anybody, which proves nothing.
    pub trusted: Option<Vec<Cidr>>,
}

/// Whom something is for, as it says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The tenant.
    pub tenant: Option<Arc<str>>,
    /// The user.
    pub user: Option<Arc<str>>,
    /// The session.
    pub session: Option<Arc<str>>,
}

impl Rule {
    /// Whether who comes from there is believed, or nobody need be.
    pub fn hears(&self, peer: Option<IpAddr>) -> bool {
        let from = |peer: IpAddr| self.trusted.iter().flatten().any(|range| range.contains(peer));
        self.trusted.is_none() || peer.is_some_and(from)
    }

    /// Whether what it reads proves something.
    pub const fn proves(&self) -> bool {
        self.trusted.is_some() && matches!(self.yields, Yields::User)
    }

    /// Whom this is for.
    pub fn named(&self, presented: &Presented<'_>) -> Option<Named> {
        if !self.hears(presented.peer) {
            return None;
        }
        let text = self.source.read(presented)?;
        match self.yields {
            Yields::User => {
                let Who { tenant, user } = who(self.pattern.as_ref(), &text)?;
                Some(Named { tenant, user, session: None })
            }
            Yields::Session => {
                let found = self.pattern.as_ref().and_then(|pattern| pattern.named(&text));
                let tenant = found.and_then(|named| named.tenant).map(Into::into);
                let user = found.and_then(|named| named.user).map(Into::into);
                Some(Named { tenant, user, session: Some(text.as_ref().into()) })
            }
        }
    }

    /// Whom this proves, where who says it is believed.
    pub fn claim(&self, presented: &Presented<'_>) -> Option<Claim> {
        let Named { tenant, user, .. } = self.proves().then(|| self.named(presented)).flatten()?;
        Who { tenant, user }.claim(Proof::Header)
    }
}

impl Named {
    /// The same, and what `other` says of what was not said yet. A tenant is the user's: they are taken together.
    #[must_use]
    pub fn or(self, other: Named) -> Named {
        let (tenant, user) = match (self.tenant, self.user) {
            (None, None) => (other.tenant, other.user),
            said => said,
        };
        Named { tenant, user, session: self.session.or(other.session) }
    }
}

#[cfg(test)]
mod tests;
