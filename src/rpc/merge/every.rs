//! A change that every CLI was asked to make: one answer for all of them.
//!
//! Never says that it is done where one of them did not do it.

use serde::Deserialize;

use super::failed;

/// The longest part of a CLI's own words that is repeated, in characters.
const MOST_WORDS: usize = 500;

/// What one CLI made of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// The text of its `result`.
    Done(String),
    /// The message of its `error`.
    Refused(String),
    /// It said nothing in time, or is gone.
    Silent,
}

impl Made {
    fn is_done(&self) -> bool {
        #[derive(Deserialize)]
        struct Success {
            success: bool,
        }
        match self {
            Made::Done(result) => {
                !matches!(serde_json::from_str(result), Ok(Success { success: false }))
            }
            Made::Refused(_) | Made::Silent => false,
        }
    }
}

/// The text of the `result`, which is the first CLI's if all did it; else that of the `error`, which says how many did
/// not. `made` is not empty.
pub fn agree(method: &str, made: &[Made]) -> Result<String, String> {
    let undone: Vec<&Made> = made.iter().filter(|one| !one.is_done()).collect();
    match (made.first(), undone.first()) {
        (Some(Made::Done(first)), None) => Ok(first.clone()),
        (_, first) => {
            let own = format!("Request {method} failed with message: ");
            let words = match first {
                Some(Made::Refused(message)) => message.strip_prefix(&own).unwrap_or(message),
                Some(Made::Done(result)) => result,
                Some(Made::Silent) | None => "no answer in time",
            };
            let words: String = words.chars().take(MOST_WORDS).collect();
            let (undone, all) = (undone.len(), made.len());
            Err(failed(
                method,
                &format!("{undone} of {all} CLIs did not do it; the first of them: {words}"),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(result: &str) -> Made {
        Made::Done(result.to_owned())
    }

    fn message(made: &[Made]) -> String {
        let error: serde_json::Value =
            serde_json::from_str(&agree("mcp.config.add", made).unwrap_err()).unwrap();
        assert_eq!(error["code"], -32603);
        error["message"].as_str().unwrap().to_owned()
    }

    #[test]
    fn where_all_did_it_the_first_one_speaks() {
        let made = [done(r#"{"name":"a"}"#), done(r#"{"name":"b"}"#), done("null")];
        assert_eq!(agree("m", &made).as_deref(), Ok(r#"{"name":"a"}"#));
        assert_eq!(agree("m", &[done("null")]).as_deref(), Ok("null"));
    }

    #[test]
    fn where_one_did_not_it_is_an_error_that_says_how_many() {
        let own = "Request mcp.config.add failed with message: it is there";
        let made = [done("null"), Made::Refused(own.to_owned()), Made::Silent];
        assert_eq!(
            message(&made),
            "Request mcp.config.add failed with message: 2 of 3 CLIs did not do it; the first of them: it is there"
        );
        assert!(
            message(&[Made::Silent])
                .contains("1 of 1 CLIs did not do it; the first of them: no answer")
        );
        let refused = done(r#"{"success":false,"error":"no"}"#);
        assert!(message(&[done("null"), refused]).contains(r#"1 of 2 CLIs"#));
    }

    #[test]
    fn a_clis_words_are_repeated_up_to_a_length() {
        let long = Made::Refused("é".repeat(10_000));
        assert!(message(&[long]).chars().count() < MOST_WORDS + 200);
    }
}
