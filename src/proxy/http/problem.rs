//! What a client hears when fairlead itself answers: `application/problem+json` (RFC 9457). Never says what an inner error
//! said.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

use super::guard::Flaw;
use crate::error::{Reason, Refusal};

/// Why fairlead answers a request itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The request can be read in two ways, or not at all.
    Flawed(Flaw),
    /// Whoever calls has to prove who it is.
    Unauthenticated,
    /// What was presented proves nothing.
    BadCredentials,
    /// Too many credentials from there were wrong.
    TooManyFailures(Duration),
    /// The caller asks more often than it may.
    TooOften(Duration),
    /// The body is larger than is taken.
    BodyTooLarge,
    /// The request did not come in time.
    TooSlow,
    /// The path can be read in two ways, and routes depend on it.
    Path,
    /// What the pool, or an upstream, says no with.
    Refused(Reason, Option<Duration>),
    /// An upstream answered with what is no HTTP.
    BadAnswer,
}

impl Problem {
    /// A refusal of the pool.
    pub fn refused(refusal: &Refusal) -> Self {
        Problem::Refused(refusal.reason, refusal.retry_after_ms.map(Duration::from_millis))
    }

    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        match self {
            Problem::Flawed(flaw) => flaw.status(),
            Problem::Path => 400,
            Problem::Unauthenticated | Problem::BadCredentials => 401,
            Problem::TooManyFailures(_) | Problem::TooOften(_) => 429,
            Problem::BodyTooLarge => 413,
            Problem::TooSlow => 408,
            Problem::BadAnswer => 502,
            Problem::Refused(reason, _) => match reason {
                Reason::UpstreamLost | Reason::SessionLost => 502,
                Reason::NoUpstream | Reason::Overloaded | Reason::Draining => 503,
                Reason::AccessDenied | Reason::MethodDenied => 403,
                Reason::SessionBusy => 409,
                Reason::FrameTooLarge => 413,
                Reason::UpstreamTimeout => 504,
            },
        }
    }

    /// The word in `reason`, in metric labels and in logs.
    pub const fn slug(&self) -> &'static str {
        match self {
            Problem::Flawed(_) | Problem::Path => "bad_request",
            Problem::Unauthenticated => "authentication_required",
            Problem::BadCredentials => "authentication_failed",
            Problem::TooManyFailures(_) | Problem::TooOften(_) => Reason::Overloaded.slug(),
            Problem::BodyTooLarge => Reason::FrameTooLarge.slug(),
            Problem::TooSlow => "client_timeout",
            Problem::BadAnswer => "bad_answer",
            Problem::Refused(reason, _) => reason.slug(),
        }
    }

    /// When the same request may succeed; `None`: not, or nobody knows.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Problem::TooManyFailures(wait) | Problem::TooOften(wait) => Some(*wait),
            Problem::Refused(Reason::NoUpstream | Reason::Overloaded | Reason::Draining, wait) => {
                Some(wait.unwrap_or(Duration::from_secs(1)))
            }
            Problem::Refused(..)
            | Problem::Flawed(_)
            | Problem::Unauthenticated
            | Problem::BadCredentials
            | Problem::BodyTooLarge
            | Problem::TooSlow
            | Problem::Path
            | Problem::BadAnswer => None,
        }
    }

    /// Whether the same request may succeed when it is sent again.
    pub fn is_retryable(&self) -> bool {
        self.retry_after().is_some() || matches!(self, Problem::TooSlow)
    }

    const fn detail(&self) -> &'static str {
        match self {
            Problem::Flawed(flaw) => flaw.detail(),
            Problem::Unauthenticated => "credentials are asked for here",
            Problem::BadCredentials => "the credentials are not accepted",
            Problem::TooManyFailures(_) => "too many wrong credentials came from there",
            Problem::TooOften(_) => "the caller asks more often than it may",
            Problem::BodyTooLarge => "the body is larger than is taken here",
            Problem::TooSlow => "the request did not come in time",
            Problem::Path => "the path can be read in more than one way",
            Problem::BadAnswer => "the upstream's answer is not understood",
            Problem::Refused(reason, _) => match reason {
                Reason::UpstreamLost => "the upstream went away before it had answered",
                Reason::NoUpstream => "no upstream can take the request",
                Reason::AccessDenied => "access is denied",
                Reason::MethodDenied => "the method is not allowed",
                Reason::SessionBusy => "the session is busy",
                Reason::Overloaded => "all upstreams are busy",
                Reason::FrameTooLarge => "the request is too large",
                Reason::Draining => "the server is about to leave",
                Reason::UpstreamTimeout => "the upstream did not answer in time",
                Reason::SessionLost => "the session is lost",
            },
        }
    }

    /// The body of the answer.
    pub fn body(&self) -> Bytes {
        let status = self.status();
        let mut text = String::with_capacity(256);
        // Nothing here needs escaping: all words are our own.
        let _ = write!(
            text,
            r#"{{"type":"about:blank","title":"{}","status":{status},"detail":"{}","reason":"{}","retryable":{}"#,
            title(status),
            self.detail(),
            self.slug(),
            self.is_retryable(),
        );
        if let Some(wait) = self.retry_after() {
            let _ = write!(text, r#","retry_after":{}"#, seconds(wait));
        }
        text.push('}');
        text.into()
    }
}

/// Whole seconds, rounded up, and one at least: what Retry-After takes.
pub fn seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

fn title(status: u16) -> &'static str {
    let status = http::StatusCode::from_u16(status).ok();
    status.and_then(|status| status.canonical_reason()).unwrap_or("Error")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Problem> {
        let wait = Duration::from_millis(1500);
        let mut all = vec![
            Problem::Unauthenticated,
            Problem::BadCredentials,
            Problem::TooManyFailures(wait),
            Problem::TooOften(wait),
            Problem::BodyTooLarge,
            Problem::TooSlow,
            Problem::Path,
            Problem::BadAnswer,
        ];
        all.extend(Flaw::ALL.map(Problem::Flawed));
        all.extend(Reason::ALL.map(|reason| Problem::Refused(reason, None)));
        all
    }

    #[test]
    fn each_is_a_json_object_with_what_rfc_9457_names() {
        for problem in all() {
            let body: serde_json::Value = serde_json::from_slice(&problem.body()).unwrap();
            assert_eq!(body["status"], problem.status(), "{problem:?}");
            assert_eq!(body["reason"], problem.slug());
            assert_eq!(body["type"], "about:blank");
            assert!(body["title"].as_str().is_some_and(|t| t != "Error"), "{body}");
            assert_eq!(body["retryable"], problem.is_retryable());
            assert_eq!(body.get("retry_after").is_some(), problem.retry_after().is_some());
        }
    }

    #[test]
    fn a_wait_is_whole_seconds_and_never_none() {
        assert_eq!(seconds(Duration::ZERO), 1);
        assert_eq!(seconds(Duration::from_millis(1500)), 2);
        assert_eq!(seconds(Duration::from_secs(3)), 3);
    }

    #[test]
    fn what_may_succeed_later_says_when() {
        for problem in all() {
            let later = matches!(problem.status(), 429 | 503);
            assert_eq!(problem.retry_after().is_some(), later, "{problem:?}");
        }
    }
}
