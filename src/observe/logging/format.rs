//! One event as one line: JSON, or text for people.
//!
//! Whatever a value contains, the result is one line without control characters.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::error::push_json_string;

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// `time level message key=value ...`
    Text,
}

/// What most lines fit in.
const USUAL_LINE: usize = 512;

impl Format {
    /// The line of `event` with its newline. Fields keep their order; those without a value are absent.
    pub(super) fn line(self, at: SystemTime, event: &Event<'_>) -> String {
        let meta = event.metadata();
        let mut line = self.begin(at, *meta.level());
        match self {
            Format::Json => event.record(&mut Json(&mut line)),
            Format::Text => {
                event.record(&mut TextMessage(&mut line));
                event.record(&mut Text(&mut line));
            }
        }
        if *meta.level() >= Level::DEBUG {
            self.field(&mut line, "target", meta.target());
        }
        self.end(line)
    }

    /// The line that says that lines are missing here.
    pub(super) fn dropped(self, at: SystemTime, lines: u64) -> String {
        let mut line = self.begin(at, Level::WARN);
        self.field(&mut line, "kind", "log");
        self.field(&mut line, "message", "log lines dropped: whoever reads them did not keep up");
        let _ = match self {
            Format::Json => write!(line, r#","dropped":{lines}"#),
            Format::Text => write!(line, " dropped={lines}"),
        };
        self.end(line)
    }

    fn begin(self, at: SystemTime, level: Level) -> String {
        let mut line = String::with_capacity(USUAL_LINE);
        let at = humantime::format_rfc3339_millis(at);
        let level = level_name(level);
        let _ = match self {
            Format::Json => write!(line, r#"{{"ts":"{at}","level":"{level}""#),
            Format::Text => write!(line, "{at} {level:>5}"),
        };
        line
    }

    fn field(self, line: &mut String, name: &str, value: &str) {
        match self {
            Format::Json => {
                json_key(line, name);
                push_json_string(line, value);
            }
            Format::Text => text_field(line, name, value),
        }
    }

    fn end(self, mut line: String) -> String {
        line.push_str(match self {
            Format::Json => "}\n",
            Format::Text => "\n",
        });
        line
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// An error with all its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause: &&'_ (dyn Error + 'static)| {
        (*cause).source()
    });
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Names are identifiers of ours: nothing in them needs an escape.
fn json_key(line: &mut String, name: &str) {
    line.push_str(",\"");
    line.push_str(name);
    line.push_str("\":");
}

struct Json<'a>(&'a mut String);

impl Json<'_> {
    fn bare(&mut self, field: &Field, value: impl fmt::Display) {
        json_key(self.0, field.name());
        let _ = write!(self.0, "{value}");
    }
}

impl Visit for Json<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() { self.bare(field, value) } else { self.bare(field, "null") }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        Format::Json.field(self.0, field.name(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_str(field, &chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// Writes the message, which people want to see first.
struct TextMessage<'a>(&'a mut String);

impl Visit for TextMessage<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.push(' ');
            let text = format!("{value:?}");
            for c in text.chars() {
                if c.is_control() { self.0.extend(c.escape_default()) } else { self.0.push(c) }
            }
        }
    }
}

/// Writes everything but the message.
struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() != "message" {
            text_field(self.0, field.name(), value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_str(field, &chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

fn text_field(line: &mut String, name: &str, value: &str) {
    let plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '=';
    let _ = if !value.is_empty() && value.chars().all(plain) {
        write!(line, " {name}={value}")
    } else {
        write!(line, " {name}={value:?}")
    };
}
