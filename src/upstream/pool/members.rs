//! The CLIs of a pool as one: who is there, what they say of themselves, and what follows when one comes, goes or dies. It
//! places nothing.

use std::fmt;
use std::sync::Arc;

use super::Pool;
use crate::health::state::{Change, Seen, State};
use crate::id::UpstreamId;
use crate::rpc::mux::Hello;
use crate::time::Duration;
use crate::upstream::hub::Event;
use crate::upstream::member::Member;

impl Pool {
    /// A CLI for what any CLI can answer: the one with the least to do.
    pub fn any(&self) -> Option<UpstreamId> {
        let all = self.members();
        let up = all.iter().filter(|m| m.is_up());
        let least = |m: &&Arc<Member>| m.candidate().map_or(u32::MAX, |c| c.sessions + c.busy);
        up.min_by_key(least).map(|m| m.id)
    }

    /// What the CLIs that are up say of themselves: the lowest version, what all of them can do.
    pub fn hello(&self) -> Option<Hello> {
        let members = self.members();
        let mut all = members.iter().filter(|m| m.is_up()).filter_map(|m| m.hello());
        let mut common = all.next()?;
        for hello in all {
            if version_key(&hello.version) < version_key(&common.version) {
                common.version = hello.version;
            }
            common.protocol = common.protocol.min(hello.protocol);
            common.task_kinds.retain(|kind| hello.task_kinds.contains(kind));
        }
        Some(common)
    }

    /// Waits until [`Pool::hello`] has something to say, for at most `limit`.
    pub async fn hello_within(&self, limit: Duration) -> Option<Hello> {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if let Some(hello) = self.hello() {
                    return hello;
                }
                changed.await;
            }
        };
        tokio::time::timeout(limit, wait).await.ok()
    }

    /// Returns once it is known of each CLI whether it is up, and one is.
    pub async fn settled(&self) {
        loop {
            let changed = self.changed.notified();
            let starting = |m: &Arc<Member>| m.state() == State::Starting;
            let known = self.tried_all() && !self.members().iter().any(starting);
            let up = if self.is_greeted() {
                self.hello().is_some()
            } else {
                self.members().iter().any(|m| m.is_up())
            };
            if known && up {
                return;
            }
            changed.await;
        }
    }

    /// Something was seen of a member that says all.
    pub fn saw(&self, member: &Member, seen: Seen) {
        self.saw_because(member, seen, None);
    }

    /// The same, and why.
    pub fn saw_because(&self, member: &Member, seen: Seen, why: Option<&dyn fmt::Display>) {
        if let Some(change) = member.see(seen) {
            self.changed_because(member, change, why);
        }
    }

    /// A member changed its state.
    pub fn member_changed(&self, member: &Member, change: Change) {
        self.changed_because(member, change, None);
    }

    fn changed_because(&self, member: &Member, change: Change, why: Option<&dyn fmt::Display>) {
        let Change { from, to: state } = change;
        if state == State::Up {
            let gone = |id| self.member(id).is_none();
            self.change(|table| {
                table.upstream_is(member.id, true);
                table.forget_lost(gone);
            });
        }
        if state == State::Down {
            self.cuts.down(member.id);
        }
        self.changed.notify_waiters();
        // What it said of itself; of one that is not up it may be what another process said.
        let hello = if state == State::Up { member.hello() } else { None };
        tracing::info!(
            kind = "upstream",
            pool = self.name,
            upstream = member.name,
            state = state.slug(),
            version = hello.as_ref().map(|h| h.version.as_str()),
            protocol = hello.as_ref().map(|h| h.protocol),
            reason = why.map(tracing::field::display),
            "upstream is {}",
            state.slug()
        );
        let words = match (from, state) {
            (_, State::Misconfigured) => "the CLI refuses the pool's token",
            (State::Misconfigured, _) => "the CLI is no longer known to refuse the pool's token",
            (
                State::Starting | State::Up | State::Down | State::Leaving,
                State::Starting | State::Up | State::Down | State::Leaving,
            ) => return,
        };
        tracing::warn!(pool = self.name, upstream = member.name, state = state.slug(), "{words}");
    }

    /// A member is dead: links to it are lost, and with own storage its sessions. One that is only down may be busy.
    pub fn member_dead(&self, member: &Member) {
        self.change(|table| table.upstream_is(member.id, false));
        self.hub.tell_all(&Event::Dead(member.id));
    }

    /// The process of a member has ended, but not all that it started.
    pub fn member_ending(&self, member: &Member) {
        self.change(|table| table.upstream_ending(member.id));
    }

    /// Nothing lives any more of the process that a member had before.
    pub fn member_reaped(&self, member: &Member) {
        self.change(|table| table.upstream_reaped(member.id));
    }
}

/// Orders `1.0.9` before `1.0.10`.
fn version_key(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_numbers() {
        assert!(version_key("1.0.9") < version_key("1.0.10"));
        assert!(version_key("1.0.102") < version_key("1.1.0-beta.1"));
    }
}
