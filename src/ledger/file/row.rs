//! A record as the file has it: JSON, times in milliseconds since 1970. A layout that an older fairlead would misread
//! takes another `FORMAT`.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::caller::{Owner, Realm};
use crate::ledger::names::Names;
use crate::ledger::{Class, Record};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row<'a> {
    #[serde(borrow)]
    owner: Who<'a>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    grants: Vec<Who<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    upstream: Option<Cow<'a, str>>,
    created: u64,
    used: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ephemeral: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Who<'a> {
    #[serde(borrow)]
    realm: Circle<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Circle<'a> {
    #[serde(borrow)]
    Tenant(Cow<'a, str>),
    Common,
    #[serde(borrow)]
    Listener(Cow<'a, str>),
}

/// The text of the record.
pub(super) fn encode(record: &Record) -> Vec<u8> {
    let row = Row {
        owner: who(&record.owner),
        grants: record.grants.iter().map(who).collect(),
        upstream: record.upstream.as_deref().map(Cow::Borrowed),
        created: millis(record.created),
        used: millis(record.used),
        ephemeral: record.class == Class::Ephemeral,
    };
    // Strings, numbers and lists of them: cannot fail. An empty row would be refused when read.
    serde_json::to_vec(&row).unwrap_or_default()
}

/// The record of the text, or what is wrong with it: never a part of the text.
pub(super) fn decode(text: &[u8], names: &Names) -> Result<Record, String> {
    let bad = |error: serde_json::Error| format!("a record's {:?} error", error.classify());
    let row: Row<'_> = serde_json::from_slice(text).map_err(bad)?;
    let mut record = Record {
        owner: owner(&row.owner),
        grants: row.grants.iter().map(owner).collect(),
        upstream: row.upstream.as_deref().map(|name| names.share(name)),
        created: time(row.created)?,
        used: time(row.used)?,
        class: if row.ephemeral { Class::Ephemeral } else { Class::Persistent },
    };
    names.share_all(&mut record);
    Ok(record)
}

fn who(owner: &Owner) -> Who<'_> {
    let realm = match &owner.realm {
        Realm::Tenant(name) => Circle::Tenant(Cow::Borrowed(name)),
        Realm::Common => Circle::Common,
        Realm::Listener(name) => Circle::Listener(Cow::Borrowed(name)),
    };
    Who { realm, user: owner.user.as_deref().map(Cow::Borrowed) }
}

fn owner(who: &Who<'_>) -> Owner {
    let realm = match &who.realm {
        Circle::Tenant(name) => Realm::Tenant(name.as_ref().into()),
        Circle::Common => Realm::Common,
        Circle::Listener(name) => Realm::Listener(name.as_ref().into()),
    };
    Owner { realm, user: who.user.as_deref().map(Into::into) }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn time(millis: u64) -> Result<SystemTime, String> {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    time.ok_or_else(|| "a record's time is out of range".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tests::record;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(record in record()) {
            prop_assert_eq!(decode(&encode(&record), &Names::default()), Ok(record));
        }

        #[test]
        fn a_record_that_was_cut_is_refused(record in record(), cut in any::<prop::sample::Index>()) {
            let text = encode(&record);
            let part = text.get(..cut.index(text.len())).unwrap();
            prop_assert!(decode(part, &Names::default()).is_err());
        }
    }

    #[test]
    fn a_field_that_is_unknown_is_refused_and_not_told() {
        let text = br#"{"owner":{"realm":"common"},"created":0,"used":0,"secret":1}"#;
        let error = decode(text, &Names::default()).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }
}
