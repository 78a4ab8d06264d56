//! Tokens that the operator gave out. Kept as SHA-256 alone, so that the file that lists them gives none away.
//!
//! Reads no file (`config::tokens` does), makes no token (`fairlead token new` does).

use std::sync::Arc;

use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use super::MAX_TOKEN;
use crate::caller::{Claim, Proof, Trust};

/// What the tokens that fairlead makes start with, so that people and scanners know one when they see it.
pub const PREFIX: &str = "flt_";

/// SHA-256 of a token, as it is presented.
pub type Hash = [u8; 32];

/// One token and whom it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// SHA-256 of the token.
    pub sha256: Hash,
    /// What the operator calls it.
    pub name: Option<Arc<str>>,
    /// Who presents it.
    pub user: Arc<str>,
    /// The tenant of that user.
    pub tenant: Option<Arc<str>>,
    /// Whom it may act for; `None`: as the listener says.
    pub trust: Option<Trust>,
}

/// All tokens of one file.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    entries: Vec<Entry>,
}

impl Tokens {
    /// Of several entries with the same hash the first one counts.
    pub fn new(entries: Vec<Entry>) -> Self {
        Tokens { entries }
    }

    /// The entries, in the order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whom the token stands for. Takes as long for one that nobody was given as for any other.
    pub fn find(&self, presented: &str) -> Option<Claim> {
        if presented.len() > MAX_TOKEN {
            return None;
        }
        let presented = hash(presented);
        let mut found = u64::MAX;
        for (at, entry) in (0u64..).zip(&self.entries) {
            let first = entry.sha256.ct_eq(&presented) & found.ct_eq(&u64::MAX);
            found.conditional_assign(&at, first);
        }
        let entry = self.entries.get(usize::try_from(found).ok()?)?;
        Some(Claim {
            tenant: entry.tenant.clone(),
            user: Some(Arc::clone(&entry.user)),
            trust: entry.trust,
            proof: Proof::Token,
            expires: None,
        })
    }
}

/// SHA-256 of a token.
pub fn hash(token: &str) -> Hash {
    let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    let mut hash = Hash::default();
    hash.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

/// A hash as 64 hexadecimal digits.
pub fn to_hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash that 64 hexadecimal digits stand for, in either case.
pub fn from_hex(text: &str) -> Option<Hash> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    let bytes: Option<Vec<u8>> = digits?
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).ok(),
            _ => None,
        })
        .collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(token: &str, user: &str) -> Entry {
        Entry {
            sha256: hash(token),
            name: None,
            user: user.into(),
            tenant: Some("t".into()),
            trust: None,
        }
    }

    #[test]
    fn a_token_finds_whom_it_was_given_to_and_no_other_does() {
        let tokens = Tokens::new(vec![entry("one", "alice"), entry("two", "bob")]);
        let user = |token| tokens.find(token).and_then(|claim| claim.user);
        assert_eq!(user("one").as_deref(), Some("alice"));
        assert_eq!(user("two").as_deref(), Some("bob"));
        for wrong in ["", "One", "one ", "three", &to_hex(&hash("one"))] {
            assert_eq!(user(wrong), None, "{wrong:?}");
        }
        assert_eq!(Tokens::default().find("one"), None);
    }

    #[test]
    fn a_claim_has_what_the_entry_says() {
        let backend = Entry { trust: Some(Trust::Backend), ..entry("one", "app") };
        let claim = Tokens::new(vec![backend]).find("one").unwrap();
        assert_eq!((claim.tenant.as_deref(), claim.trust), (Some("t"), Some(Trust::Backend)));
        assert_eq!((claim.proof, claim.expires), (Proof::Token, None));
    }

    #[test]
    fn of_two_entries_with_one_hash_the_first_counts() {
        let tokens = Tokens::new(vec![entry("one", "alice"), entry("one", "bob")]);
        assert_eq!(tokens.find("one").unwrap().user.as_deref(), Some("alice"));
    }

    #[test]
    fn a_token_over_the_bound_is_not_looked_at() {
        let (just, over) = ("a".repeat(MAX_TOKEN), "a".repeat(MAX_TOKEN + 1));
        let tokens = Tokens::new(vec![entry(&just, "just"), entry(&over, "over")]);
        assert!(tokens.find(&just).is_some());
        assert_eq!(tokens.find(&over), None);
    }

    #[test]
    fn the_hash_is_sha_256_in_hexadecimal() {
        // FIPS 180-2, appendix B.1
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(to_hex(&hash("abc")), abc);
        assert_eq!(from_hex(abc), Some(hash("abc")));
        assert_eq!(from_hex(&abc.to_uppercase()), Some(hash("abc")));
        for bad in ["", &abc[1..], &format!("{abc}0"), &abc.replace('b', "g"), "é"] {
            assert_eq!(from_hex(bad), None, "{bad}");
        }
    }
}
