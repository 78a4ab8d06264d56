//! What a conn proves by what it shows. Pure: takes what was presented and what is configured, and knows nothing of how
//! it came.

pub mod mtls;
pub mod proxy_tlv;

use std::sync::Arc;

use crate::caller::{Claim, Proof};
use crate::wire::proxy_protocol::Header;

/// The longest name that is believed, in bytes.
const MAX_NAME: usize = 256;

/// What a conn shows before its first frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The names in the client's certificate, which was verified.
    pub certificate: Option<mtls::Names>,
    /// What a trusted proxy says of it.
    pub proxied: Option<Header>,
}

/// Whom a text names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The tenant, if it says so.
    pub tenant: Option<Arc<str>>,
    /// The user, if it says so.
    pub user: Option<Arc<str>>,
}

impl Who {
    fn claim(self, proof: Proof) -> Option<Claim> {
        let Who { tenant, user } = self;
        let named = tenant.is_some() || user.is_some();
        named.then_some(Claim { tenant, user, trust: None, proof, expires: None })
    }
}

/// Whether a text is fit to be a name: it is shown in logs, and compared.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control)
}
