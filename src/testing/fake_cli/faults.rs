//! Faults by script: what happens to the answers of one method. Decides; the connection does it.

use parking_lot::Mutex;

use crate::testing::wire::RpcError;

/// What goes wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It comes when this key is released; other frames overtake it.
    Held(String),
    /// It never comes.
    Never,
    /// Only its first half is written, and nothing after it.
    HalfFrame,
    /// Its first half, then RST.
    ResetMidAnswer,
    /// FIN in its place.
    EarlyFin,
    /// It carries this id, as JSON text.
    WrongId(String),
    /// `result.sessionId` is this one.
    OtherSession(String),
    /// The result is a string of this many bytes.
    Huge(usize),
    /// This error in its place: code, message.
    Error(i64, String),
    /// This error, and nothing is done.
    Refused(i64, String),
    /// This result in its place, as JSON text.
    Result(String),
    /// This result, and nothing is done.
    Instead(String),
}

#[derive(Debug)]
struct Rule {
    method: String,
    fault: Fault,
    left: usize,
}

/// The faults that are armed now.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Vec<Rule>>);

impl Faults {
    /// Arms a fault for the next `times` answers of a method (`*`: of any method).
    pub(super) fn arm(&self, method: &str, fault: Fault, times: usize) {
        self.0.lock().push(Rule { method: method.to_owned(), fault, left: times });
    }

    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }

    pub(super) fn any(&self) -> bool {
        !self.0.lock().is_empty()
    }

    /// What a request is answered instead of being served, if its next fault is that.
    pub(super) fn take_answer(&self, method: &str) -> Option<Result<String, RpcError>> {
        let fits = |rule: &&Rule| rule.method == method || rule.method == "*";
        let answer = match self.0.lock().iter().find(fits).map(|rule| rule.fault.clone()) {
            Some(Fault::Refused(code, message)) => Err(RpcError::new(code, message)),
            Some(Fault::Instead(result)) => Ok(result),
            _ => return None,
        };
        self.take(method).map(|_| answer)
    }

    /// The fault of this answer; the first rule that fits, used up once more.
    pub(super) fn take(&self, method: &str) -> Option<Fault> {
        let mut rules = self.0.lock();
        let rule = rules.iter_mut().find(|rule| rule.method == method || rule.method == "*")?;
        let fault = rule.fault.clone();
        rule.left = rule.left.saturating_sub(1);
        rules.retain(|rule| rule.left > 0);
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_used_up_by_the_answers_that_it_spoils() {
        let faults = Faults::default();
        faults.arm("a", Fault::Never, 2);
        faults.arm("*", Fault::HalfFrame, 1);
        assert_eq!(faults.take("a"), Some(Fault::Never));
        assert_eq!(faults.take("b"), Some(Fault::HalfFrame));
        assert_eq!(faults.take("b"), None);
        assert_eq!(faults.take("a"), Some(Fault::Never));
        assert_eq!(faults.take("a"), None);
        assert!(!faults.any());
    }
}
