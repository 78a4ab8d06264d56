//! A JSON object as a list of its members: in order, values verbatim.
//!
//! Never drops a duplicate key: `get` gives the last, as the CLI does.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::push_json_string;

/// The members of an object.
pub(super) struct Pairs<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'a> Pairs<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| *value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    members.push((key, value));
                }
                Ok(Pairs(members))
            }
        }
        from.deserialize_map(Members)
    }
}

/// `{"name":{"a":1,...}}` of names and JSON texts.
pub(super) fn nested<'a>(name: &str, members: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::from("{");
    push_json_string(&mut out, name);
    out.push_str(":{");
    for (place, (key, value)) in members.enumerate() {
        if place > 0 {
            out.push(',');
        }
        push_json_string(&mut out, key);
        out.push(':');
        out.push_str(value);
    }
    out.push_str("}}");
    out
}
