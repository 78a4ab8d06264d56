//! Picking one session out of those that the caller may see, as a CLI picks out of all of its own.
//!
//! Never asks a CLI to pick.

use super::lists::seen;
use super::{Ask, Context, NOTHING, Record, Said, Sees, Single, Wrong, param};
use crate::error::push_json_string;

/// A UUID has 36 characters; a prefix of it has fewer, and not too few.
const UUID: usize = 36;
const SHORTEST_PREFIX: usize = 7;

impl Single {
    /// What to ask of each CLI: its list. Wrong params are found here, before anybody is asked.
    pub fn asks(self, params: Option<&str>) -> Result<Vec<Ask>, Wrong> {
        Wanted::read(self, params).map(|_| vec![Ask::list()])
    }

    /// The text of the `result`, from what each CLI said: `{"sessionId":...}`, or `{}`.
    pub fn join(
        self,
        params: Option<&str>,
        said: &[Said<'_>],
        sees: Sees<'_>,
    ) -> Result<String, Wrong> {
        let wanted = Wanted::read(self, params)?;
        let all = seen(said, 0, sees)?;
        let Some(record) = wanted.pick(&all) else { return Ok(NOTHING.to_owned()) };
        let mut out = String::from(r#"{"sessionId":"#);
        push_json_string(&mut out, &record.head.session_id);
        out.push('}');
        Ok(out)
    }
}

/// The question, with its params read.
enum Wanted {
    Last,
    LastFor(Context),
    Prefix(String),
    Task(String),
}

impl Wanted {
    fn read(single: Single, params: Option<&str>) -> Result<Self, Wrong> {
        let text = |name: &str| {
            let absent = || Wrong::Params(format!("missing or non-string parameter '{name}'"));
            param::<String>(params, name).ok_or_else(absent)
        };
        match single {
            Single::LastId => Ok(Wanted::Last),
            Single::ByPrefix => text("prefix").map(Wanted::Prefix),
            Single::ByTaskId => text("taskId").map(Wanted::Task),
            Single::LastForContext => match param::<serde_json::Value>(params, "context") {
                None | Some(serde_json::Value::Null) => Ok(Wanted::Last),
                Some(_) => param::<Context>(params, "context")
                    .filter(|context| context.cwd.is_some())
                    .map(Wanted::LastFor)
                    .ok_or_else(|| {
                        Wrong::Params("missing or non-string parameter 'cwd'".to_owned())
                    }),
            },
        }
    }

    /// Out of records in order, the newest first.
    fn pick<'r, 'a>(&self, all: &'r [Record<'a>]) -> Option<&'r Record<'a>> {
        match self {
            Wanted::Last => all.first(),
            Wanted::LastFor(context) => {
                // The first of the best: `max_by_key` would give the last.
                all.iter().rev().max_by_key(|record| closeness(&record.head.context, context))
            }
            Wanted::Prefix(prefix) => {
                let mut found =
                    all.iter().filter(|record| has_prefix(&record.head.session_id, prefix));
                found.next().filter(|_| found.next().is_none())
            }
            Wanted::Task(task) => {
                all.iter().find(|record| record.head.mc_task_id.as_deref() == Some(task))
            }
        }
    }
}

/// How close a session's directory is to the one asked for, in a CLI's steps (1.0.102): repository and
/// branch, repository, git root, directory, none of them. Steps do not add up; the newest of the best wins.
fn closeness(of: &Option<Context>, to: &Context) -> u8 {
    let Some(of) = of else { return 0 };
    let same = |a: &Option<String>, b: &Option<String>| {
        a.as_ref().is_some_and(|a| !a.is_empty()) && a == b
    };
    if same(&of.repository, &to.repository) {
        if same(&of.branch, &to.branch) { 4 } else { 3 }
    } else if same(&of.git_root, &to.git_root) {
        2
    } else {
        u8::from(same(&of.cwd, &to.cwd))
    }
}

/// Whether `id` is a UUID that starts with `prefix`, in any case of letters. The whole of it is no prefix.
fn has_prefix(id: &str, prefix: &str) -> bool {
    let is_uuid = id.len() == UUID
        && id.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    is_uuid
        && (SHORTEST_PREFIX..UUID).contains(&prefix.len())
        && id.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
