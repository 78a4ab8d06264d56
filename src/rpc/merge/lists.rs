//! Joining what all CLIs list.
//!
//! Never reorders what one CLI lists: lists are interleaved by time, each in its own order.

use std::borrow::Cow;

use ahash::{AHashMap, AHashSet};
use serde::Deserialize;

use super::pairs::{Pairs, nested};
use super::{Ask, Merge, NOTHING, Record, Said, Sees, Wrong, array, param, read_all, records};

/// What `sessions.listNonEmptySessionIds` gives without a limit, or with one below zero (CLI 1.0.102).
const DEFAULT_LIMIT: u64 = 2;
/// Asked for instead of the client's limit, which counts only what the caller may see.
const NO_LIMIT: &str = r#"{"limit":9007199254740991}"#;

impl Merge {
    /// What to ask of each CLI for a client's `method` with these `params` (JSON text).
    pub fn asks(self, method: &'static str, params: Option<&str>) -> Vec<Ask> {
        match self {
            Merge::Sessions => vec![Ask::new(method, params.unwrap_or(NOTHING))],
            // The ids come without times; the records have them.
            Merge::NonEmptyIds => vec![Ask::new(method, NO_LIMIT), Ask::list()],
            Merge::Sizes | Merge::RemoteControl => vec![Ask::new(method, NOTHING)],
        }
    }

    /// The text of the `result`, from what each CLI said.
    pub fn join(
        self,
        params: Option<&str>,
        said: &[Said<'_>],
        sees: Sees<'_>,
    ) -> Result<String, Wrong> {
        match self {
            Merge::Sessions => {
                let all = seen(said, 0, sees)?;
                let list = array(all.iter().map(|record| record.raw.get()));
                Ok(format!(r#"{{"sessions":{list}}}"#))
            }
            Merge::NonEmptyIds => non_empty_ids(params, said, sees),
            Merge::Sizes => sizes(said, sees),
            Merge::RemoteControl => remote_control(said, sees),
        }
    }
}

/// The records that the caller may see, of all CLIs, the newest first, each session once.
pub(super) fn seen<'a>(
    said: &[Said<'a>],
    ask: usize,
    sees: Sees<'_>,
) -> Result<Vec<Record<'a>>, Wrong> {
    let lists = read_all(said, ask, records)?;
    let mut all = newest_first(lists, |record| Some(&record.head.modified_time));
    let mut once = AHashSet::new();
    all.retain(|record| {
        sees(&record.head.session_id) && once.insert(record.head.session_id.to_string())
    });
    Ok(all)
}

/// Interleaves lists by their heads' times; what has no time keeps its place behind its predecessor.
fn newest_first<T>(lists: Vec<Vec<T>>, time: impl Fn(&T) -> Option<&str>) -> Vec<T> {
    let mut all = Vec::with_capacity(lists.iter().map(Vec::len).sum());
    let mut heads: Vec<_> = lists.into_iter().map(|list| list.into_iter().peekable()).collect();
    loop {
        let mut best: Option<(usize, Option<&str>)> = None;
        for (place, list) in heads.iter_mut().enumerate() {
            let Some(head) = list.peek() else { continue };
            let at = time(head);
            let newer = match best {
                None => true,
                Some((_, None)) => false,
                Some((_, Some(other))) => at.is_none_or(|at| at > other),
            };
            if newer {
                best = Some((place, at));
            }
        }
        let Some((place, _)) = best else { return all };
        all.extend(heads.get_mut(place).and_then(Iterator::next));
    }
}

fn non_empty_ids(params: Option<&str>, said: &[Said<'_>], sees: Sees<'_>) -> Result<String, Wrong> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        #[serde(borrow)]
        session_ids: Vec<Cow<'a, str>>,
    }
    let lists = read_all(said, 0, |text| serde_json::from_str::<Answer<'_>>(text).ok())?;
    let times: AHashMap<_, _> = seen(said, 1, sees)?
        .into_iter()
        .map(|record| (record.head.session_id, record.head.modified_time))
        .collect();
    let lists = lists.into_iter().map(|answer| answer.session_ids).collect();
    let mut all = newest_first(lists, |id| times.get(id).map(AsRef::as_ref));
    let mut once = AHashSet::new();
    all.retain(|id| sees(id) && once.insert(id.to_string()));
    all.truncate(
        usize::try_from(param(params, "limit").unwrap_or(DEFAULT_LIMIT)).unwrap_or(usize::MAX),
    );
    let list = serde_json::to_string(&all).unwrap_or_default();
    Ok(format!(r#"{{"sessionIds":{list}}}"#))
}

fn sizes(said: &[Said<'_>], sees: Sees<'_>) -> Result<String, Wrong> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        sizes: Pairs<'a>,
    }
    let answers = read_all(said, 0, |text| serde_json::from_str::<Answer<'_>>(text).ok())?;
    let mut once = AHashSet::new();
    let all = answers.iter().flat_map(|answer| &answer.sizes.0);
    let seen = all.filter(|(id, _)| sees(id) && once.insert(id.as_str()));
    Ok(nested("sizes", seen.map(|(id, size)| (id.as_str(), size.get()))))
}

/// The status of a session that the caller may see, the liveliest first; otherwise `off`.
fn remote_control(said: &[Said<'_>], sees: Sees<'_>) -> Result<String, Wrong> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Status {
        state: String,
        attached_session_id: Option<String>,
    }
    #[derive(Deserialize)]
    struct Answer {
        status: Status,
    }
    let answers = read_all(said, 0, |text| {
        serde_json::from_str::<Answer>(text).ok().map(|answer| (answer.status, text))
    })?;
    let find = |state: &str| {
        answers.iter().find(|(status, _)| {
            status.state == state && status.attached_session_id.as_deref().is_some_and(sees)
        })
    };
    let best = ["active", "connecting", "error"].into_iter().find_map(find);
    Ok(best.map_or(r#"{"status":{"state":"off"}}"#, |(_, text)| *text).to_owned())
}
