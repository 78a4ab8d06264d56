//! Requests that name several sessions: each CLI is asked for its own, the answers are put back in the client's order.
//!
//! Never sends an id to a CLI that nobody matched exactly: a session without an owner that the caller may see
//! gets here what a CLI says of an id that it does not know.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};

use ahash::{AHashMap, AHashSet};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::pairs::{Pairs, nested};
use super::{Ask, Scatter, Wrong, array, param};
use crate::error::push_json_string;
use crate::id::SessionId;

/// Sessions that one request may name: each may have to be looked for on every CLI.
const MAX_SESSIONS: usize = 1024;

/// A client's request, taken apart.
#[derive(Debug)]
pub struct Split<'a, O> {
    scatter: Scatter,
    items: Vec<Item<'a>>,
    parts: Vec<Part<O>>,
}

/// What one CLI is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<O> {
    /// Which CLI, as the caller of [`Scatter::split`] named it.
    pub owner: O,
    /// What to ask of it.
    pub ask: Ask,
}

/// One id, or one record with its id, of the client's.
#[derive(Debug)]
struct Item<'a> {
    id: Cow<'a, str>,
    raw: &'a RawValue,
    part: Option<usize>,
}

impl Scatter {
    /// Takes a client's request apart. `owner` gives the CLI of a session that the caller may see.
    pub fn split<'a, O: Copy + PartialEq>(
        self,
        method: &'static str,
        params: Option<&'a str>,
        owner: &dyn Fn(&str) -> Option<O>,
    ) -> Result<Split<'a, O>, Wrong> {
        let mut items = self.items(params)?;
        let mut owners: Vec<O> = Vec::new();
        for item in &mut items {
            let Some(of) = owner(&item.id) else { continue };
            let place = owners.iter().position(|other| *other == of);
            item.part = Some(place.unwrap_or(owners.len()));
            if place.is_none() {
                owners.push(of);
            }
        }
        let keys = param::<Box<RawValue>>(params, "keys");
        let ask = |part: usize| {
            let mine = items.iter().filter(|item| item.part == Some(part));
            let list = array(mine.map(|item| item.raw.get()));
            let keys = keys.as_ref().map_or(String::new(), |keys| format!(r#","keys":{keys}"#));
            Ask::new(method, format!(r#"{{"{}":{list}{keys}}}"#, self.member()))
        };
        let numbered = owners.into_iter().enumerate();
        let parts = numbered.map(|(place, owner)| Part { owner, ask: ask(place) }).collect();
        Ok(Split { scatter: self, items, parts })
    }

    /// The sessions that a client's request names, each once.
    pub fn ids(self, params: Option<&str>) -> Result<Vec<SessionId>, Wrong> {
        let mut once = AHashSet::new();
        let items = self.items(params)?;
        let new = items.iter().filter(|item| once.insert(&*item.id));
        Ok(new.map(|item| SessionId::new(&item.id)).collect())
    }

    /// The param that holds the array.
    fn member(self) -> &'static str {
        match self {
            Scatter::Enrich => "sessions",
            Scatter::ClientMetadata | Scatter::InUse | Scatter::BulkDelete => "sessionIds",
        }
    }

    fn items(self, params: Option<&str>) -> Result<Vec<Item<'_>>, Wrong> {
        let name = self.member();
        let list = params
            .and_then(|text| serde_json::from_str::<Pairs<'_>>(text).ok()?.get(name))
            .and_then(|list| serde_json::from_str::<Vec<&RawValue>>(list.get()).ok())
            .ok_or_else(|| Wrong::Params(format!("missing or non-array parameter '{name}'")))?;
        if list.len() > MAX_SESSIONS {
            return Err(Wrong::TooMany(MAX_SESSIONS));
        }
        list.into_iter().map(|raw| self.item(raw)).collect()
    }

    fn item(self, raw: &RawValue) -> Result<Item<'_>, Wrong> {
        let id = match self {
            Scatter::ClientMetadata | Scatter::InUse | Scatter::BulkDelete => raw,
            Scatter::Enrich => {
                let record: Pairs<'_> = serde_json::from_str(raw.get()).map_err(|_| {
                    Wrong::Params("session metadata entry must be an object".to_owned())
                })?;
                let undefined = || Wrong::Params("Invalid sessionId: undefined".to_owned());
                record.get("sessionId").ok_or_else(undefined)?
            }
        };
        Ok(Item { id: read_id(id)?, raw, part: None })
    }
}

/// A session id as a CLI accepts it: a string of ASCII letters, digits, `-` and `_`.
fn read_id(raw: &RawValue) -> Result<Cow<'_, str>, Wrong> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Id<'a>(#[serde(borrow)] Cow<'a, str>);

    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let mut shown = String::new();
    match serde_json::from_str(raw.get()) {
        Ok(Id(id)) if !id.is_empty() && id.bytes().all(fine) => return Ok(id),
        Ok(Id(id)) => push_json_string(&mut shown, &id),
        Err(_) => shown.push_str(raw.get()),
    }
    Err(Wrong::Params(format!("Invalid sessionId: {shown}")))
}

impl<O> Split<'_, O> {
    /// What to ask, and of whom; empty where no id is known.
    pub fn parts(&self) -> &[Part<O>] {
        &self.parts
    }

    /// The text of the `result`, from the `result` of each part in order; none where a CLI did not give one.
    pub fn join(&self, said: &[Option<&str>]) -> Result<String, Wrong> {
        match self.scatter {
            Scatter::ClientMetadata => {
                self.in_order(said, |text| serde_json::from_str(text).ok(), no_metadata)
            }
            Scatter::Enrich => {
                let list = self.in_order(said, enriched, |item, _| not_enriched(item))?;
                Ok(format!(r#"{{"sessions":{list}}}"#))
            }
            Scatter::InUse => self.in_use(said),
            Scatter::BulkDelete => self.freed(said),
        }
    }

    /// An array with an element per item: the next one of its part, or a substitute.
    fn in_order<'t>(
        &self,
        said: &[Option<&'t str>],
        read: impl Fn(&'t str) -> Option<Vec<&'t RawValue>>,
        substitute: impl Fn(&Item<'_>, bool) -> String,
    ) -> Result<String, Wrong> {
        let mut queues = self.read_parts(said, |place, text| {
            let asked = self.items.iter().filter(|item| item.part == Some(place)).count();
            read(text).filter(|list| list.len() == asked).map(VecDeque::from)
        })?;
        let mut next = |item: &Item<'_>| -> Cow<'t, str> {
            let queue = item.part.and_then(|part| queues.get_mut(part));
            match queue.and_then(|queue| queue.as_mut()?.pop_front()) {
                Some(raw) => Cow::Borrowed(raw.get()),
                None => Cow::Owned(substitute(item, item.part.is_some())),
            }
        };
        let texts: Vec<_> = self.items.iter().map(&mut next).collect();
        Ok(array(texts.iter().map(AsRef::as_ref)))
    }

    /// Those ids that their CLI names; those of a CLI that gave no answer count as in use.
    fn in_use(&self, said: &[Option<&str>]) -> Result<String, Wrong> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            in_use: HashSet<String>,
        }
        let held = self.read_parts(said, |_, text| serde_json::from_str::<Answer>(text).ok())?;
        let is_held = |item: &&Item<'_>| {
            let answer = item.part.and_then(|part| held.get(part));
            answer.is_some_and(|answer| {
                answer.as_ref().is_none_or(|answer| answer.in_use.contains(&*item.id))
            })
        };
        let list = array(self.items.iter().filter(is_held).map(|item| item.raw.get()));
        Ok(format!(r#"{{"inUse":{list}}}"#))
    }

    /// The sessions that their CLIs say they deleted, each once.
    pub fn deleted(&self, said: &[Option<&str>]) -> Vec<SessionId> {
        if self.scatter != Scatter::BulkDelete {
            return Vec::new();
        }
        let freed = self.read_parts(said, |_, text| {
            let answer: Freed<'_> = serde_json::from_str(text).ok()?;
            Some(answer.freed_bytes.0.into_iter().map(|(id, _)| id).collect::<AHashSet<_>>())
        });
        let freed = freed.unwrap_or_default();
        let is_freed = |item: &&Item<'_>| {
            let answer = item.part.and_then(|part| freed.get(part)?.as_ref());
            answer.is_some_and(|ids| ids.contains(&*item.id))
        };
        let mut once = AHashSet::new();
        let freed = self.items.iter().filter(is_freed).filter(|item| once.insert(&*item.id));
        freed.map(|item| SessionId::new(&item.id)).collect()
    }

    /// Freed bytes of each id, once; those of a CLI that gave no answer are left out.
    fn freed(&self, said: &[Option<&str>]) -> Result<String, Wrong> {
        let freed = self.read_parts(said, |_, text| {
            let answer: Freed<'_> = serde_json::from_str(text).ok()?;
            Some(answer.freed_bytes.0.into_iter().collect::<AHashMap<_, _>>())
        })?;
        let mut once = AHashSet::new();
        let bytes = |item: &'_ Item<'_>| match item.part {
            None => Some("0"),
            Some(part) => {
                let answer = freed.get(part)?.as_ref()?;
                Some(answer.get(&*item.id).map_or("0", |bytes| bytes.get()))
            }
        };
        let new = self.items.iter().filter(|item| once.insert(&*item.id));
        let members: Vec<_> = new.filter_map(|item| Some((&*item.id, bytes(item)?))).collect();
        Ok(nested("freedBytes", members.into_iter()))
    }

    /// What each part said, read; none for a part that said nothing.
    fn read_parts<'t, T>(
        &self,
        said: &[Option<&'t str>],
        read: impl Fn(usize, &'t str) -> Option<T>,
    ) -> Result<Vec<Option<T>>, Wrong> {
        let one = |place: usize| match said.get(place).copied().flatten() {
            None => Ok(None),
            Some(text) => read(place, text).map(Some).ok_or(Wrong::Answer(place)),
        };
        (0..self.parts.len()).map(one).collect()
    }
}

/// What a CLI answers to `sessions.bulkDelete`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Freed<'a> {
    #[serde(borrow)]
    freed_bytes: Pairs<'a>,
}

/// What a CLI says of a session without a directory, or of one whose directory it cannot read.
fn no_metadata(item: &Item<'_>, has_owner: bool) -> String {
    let mut out = String::from(r#"{"sessionId":"#);
    push_json_string(&mut out, &item.id);
    out.push_str(if has_owner {
        r#","status":"unavailable","code":"upstream_lost","message":"the CLI of this session did not answer"}"#
    } else {
        r#","status":"notFound"}"#
    });
    out
}

fn enriched(text: &str) -> Option<Vec<&RawValue>> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        sessions: Vec<&'a RawValue>,
    }
    serde_json::from_str::<Answer<'_>>(text).ok().map(|answer| answer.sessions)
}

/// The record as it came, with the one thing that a CLI adds to what it does not know.
fn not_enriched(item: &Item<'_>) -> String {
    let text = item.raw.get();
    let has = serde_json::from_str::<Pairs<'_>>(text).is_ok_and(|r| r.get("isDetached").is_some());
    match text.trim_end().strip_suffix('}') {
        Some(open) if !has => format!(r#"{open},"isDetached":false}}"#),
        Some(_) | None => text.to_owned(),
    }
}
