//! Members that fail where others do not take no requests for a while: as long as others are there that do.

use super::Pool;
use crate::health::outlier::Rule;
use crate::time;
use crate::upstream::member::Member;

impl Pool {
    /// From now on members that fail so often are put out. Counts once.
    pub fn put_out(&self, rule: Rule) {
        // An error: it was said before.
        let _ = self.outliers.set(rule);
    }

    /// How a member served a request, or a conn: well, or in a way that is its own fault.
    pub fn served(&self, member: &Member, well: bool) {
        let Some(rule) = self.outliers.get() else { return };
        if well && member.is_steady() {
            return;
        }
        let now = time::now();
        let may = || {
            let all = self.members();
            let out = all.iter().filter(|m| m.is_out(now)).count();
            out < rule.may_be_out(all.len())
        };
        if let Some(until) = member.served(rule, well, now, may) {
            let seconds = until.saturating_duration_since(now).as_secs_f64();
            let (pool, upstream) = (&self.name, &member.name);
            tracing::warn!(kind = "upstream", pool, upstream, seconds, "upstream is put out");
        }
    }
}
