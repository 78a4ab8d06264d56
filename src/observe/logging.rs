//! Log lines to stderr: JSON, or text on a terminal, through a bounded queue that drops and counts.
//!
//! Never blocks who logs: a reader that stalls costs lines, not traffic. Knows nothing of what the lines say.

mod format;
mod queue;

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::Duration;

use tracing::{Event, Subscriber};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::{EnvFilter, Layer};

pub use format::Format;
use queue::Queue;

/// How long an exit waits for the last lines to be written.
pub const FLUSH_DEADLINE: Duration = Duration::from_secs(1);
/// The environment variable that wins over the config's level, as `debug` or `info,fairlead::upstream=debug`.
pub const LEVEL_VARIABLE: &str = "FAIRLEAD_LOG";

/// Why there are no logs.
#[derive(Debug)]
pub enum LoggingError {
    /// The level is not one.
    Level(ParseError),
    /// No thread could be had.
    Io(io::Error),
    /// Logging was started before.
    Twice,
}

impl std::fmt::Display for LoggingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LoggingError::Level(error) => write!(f, "the log level cannot be read: {error}"),
            LoggingError::Io(error) => write!(f, "logging cannot start: {error}"),
            LoggingError::Twice => f.write_str("logging was started before"),
        }
    }
}

impl std::error::Error for LoggingError {}

/// Starts logging to stderr for the whole process, panics included: where, and of their messages what stands in the program.
/// `level` is the config's;
/// [`LEVEL_VARIABLE`] wins over it. No `format`: text on a terminal, else JSON.
pub fn start(level: &str, format: Option<Format>) -> Result<LogGuard, LoggingError> {
    let asked = std::env::var(LEVEL_VARIABLE).unwrap_or_else(|_| level.to_owned());
    let filter = EnvFilter::builder().parse(asked).map_err(LoggingError::Level)?;
    let terminal = io::stderr().is_terminal();
    let format = format.unwrap_or(if terminal { Format::Text } else { Format::Json });
    let queue = Queue::start(io::stderr(), format).map_err(LoggingError::Io)?;
    tracing::subscriber::set_global_default(subscriber(filter, format, Arc::clone(&queue)))
        .map_err(|_| LoggingError::Twice)?;
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string);
        tracing::error!(kind = "panic", at, "{}", crate::drain::panic_text(panic.payload()));
    }));
    Ok(LogGuard { queue })
}

/// Holds the log open. `Drop` writes what is queued, for at most [`FLUSH_DEADLINE`].
#[must_use = "the last lines are written when this is dropped"]
pub struct LogGuard {
    queue: Arc<Queue>,
}

impl LogGuard {
    /// Reads how many lines were dropped since the start: for `Metrics::read_dropped_log_lines`.
    pub fn dropped(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let queue = Arc::clone(&self.queue);
        move || queue.dropped()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.queue.flush(FLUSH_DEADLINE);
    }
}

fn subscriber(filter: EnvFilter, format: Format, queue: Arc<Queue>) -> impl Subscriber {
    tracing_subscriber::registry().with(Lines { format, queue }.with_filter(filter))
}

/// Turns each event into one line. Spans say nothing.
struct Lines {
    format: Format,
    queue: Arc<Queue>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.queue.push(self.format.line(crate::time::wall(), event).as_bytes());
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;
    use std::sync::LazyLock;

    use parking_lot::Mutex;
    use tracing::Dispatch;
    use tracing::subscriber::NoSubscriber;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// One that wants no lines. Where there is a single subscriber, tracing asks whoever comes by a line first whether it is
    /// wanted, and believes that for all threads.
    static BESIDE: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

    /// What is written while `log` runs.
    pub(crate) fn logged(level: &str, format: Format, log: impl FnOnce()) -> String {
        LazyLock::force(&BESIDE);
        let sink = Sink::default();
        let queue = Queue::start(sink.clone(), format).unwrap();
        let filter = EnvFilter::builder().parse(level).unwrap();
        tracing::subscriber::with_default(subscriber(filter, format, Arc::clone(&queue)), log);
        assert!(queue.flush(Duration::from_secs(10)));
        let bytes = sink.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_line_is_json_whatever_a_client_called_its_session() {
        let hostile = "a\"b\\\n\u{1b}[2J{}";
        let text = logged("info", Format::Json, || {
            tracing::warn!(
                kind = "conn",
                session_id = hostile,
                t = 0.25,
                nan = f64::NAN,
                n = 7_u64,
                negative = -3_i64,
                yes = true,
                none = None::<u64>,
                shown = ?Some(1),
                "gone \"away\""
            );
        });
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "warn");
        assert_eq!(line["kind"], "conn");
        assert_eq!(line["session_id"], hostile);
        assert_eq!(line["message"], "gone \"away\"");
        assert_eq!(
            (&line["t"], &line["n"], &line["negative"]),
            (&0.25.into(), &7.into(), &(-3).into())
        );
        assert_eq!((&line["yes"], &line["nan"]), (&true.into(), &serde_json::Value::Null));
        assert_eq!(line["shown"], "Some(1)");
        assert!(line.get("none").is_none());
    }

    #[test]
    fn a_time_stamp_is_rfc_3339_with_milliseconds() {
        let text = logged("info", Format::Json, || tracing::info!("x"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        let ts = line["ts"].as_str().unwrap();
        assert_eq!(ts.len(), "2026-11-21T10:41:16.123Z".len());
        humantime::parse_rfc3339(ts).unwrap();
    }

    #[test]
    fn text_lets_no_control_character_through_to_the_terminal() {
        let text = logged("info", Format::Text, || {
            tracing::info!(session_id = "a\u{1b}[2J\u{9b}b\nc", plain = "ok-1", "moved\u{7}");
        });
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.contains(" info moved") && line.contains("plain=ok-1"), "{line}");
    }

    #[test]
    fn the_level_decides_what_is_logged() {
        let log = || {
            tracing::info!("quiet");
            tracing::error!("loud");
        };
        let text = logged("warn", Format::Text, log);
        assert!(text.contains("loud") && !text.contains("quiet"), "{text}");
        let text = logged("off,fairlead=info", Format::Text, log);
        assert!(text.contains("quiet"), "{text}");
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        assert!(EnvFilter::builder().parse("fairlead=chatty").is_err());
    }
}
