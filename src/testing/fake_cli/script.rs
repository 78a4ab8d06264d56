//! What a prompt makes the fake do, and the keys that held turns and answers wait for. Knows no session.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// What a prompt asks for; the words of `model_server.mjs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// Says this.
    Say(String),
    /// `hold KEY`: says "holding ", waits for the key.
    Hold(String),
    /// `stream N MS`: N words, MS milliseconds apart.
    Stream { words: u32, pause: Duration },
    /// `tool NAME {json}`; the arguments as they were written.
    Tool { name: String, args: String },
}

/// Reads a prompt; `earlier` is the number of messages before it.
pub(super) fn plan(prompt: &str, earlier: usize) -> Plan {
    directive(prompt.trim()).unwrap_or_else(|| {
        Plan::Say(format!("You said \"{}\". I remember {earlier} earlier messages.", prompt.trim()))
    })
}

fn directive(prompt: &str) -> Option<Plan> {
    let (verb, rest) = prompt.split_once(' ')?;
    match verb {
        "hold" => Some(Plan::Hold(rest.split_whitespace().next()?.to_owned())),
        "stream" => {
            let (words, pause) = rest.split_once(' ')?;
            let pause = Duration::from_millis(pause.parse().ok()?);
            Some(Plan::Stream { words: words.parse().ok()?, pause })
        }
        "tool" => {
            let (name, args) = rest.split_once(' ')?;
            serde_json::from_str::<serde_json::Value>(args).ok()?;
            Some(Plan::Tool { name: name.to_owned(), args: args.to_owned() })
        }
        _ => None,
    }
}

/// A text cut after each run of blanks, as the model server streams it.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split_inclusive(' ').map(str::to_owned).collect()
}

/// Keys that turns and answers wait for.
#[derive(Debug, Default)]
pub(super) struct Keys {
    waiting: Mutex<BTreeMap<String, Waiting>>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    held: usize,
    permits: usize,
}

impl Keys {
    /// Lets all that wait for the key go on, or the next one where none waits.
    pub(super) fn release(&self, key: &str) {
        let mut map = self.waiting.lock();
        let entry = map.entry(key.to_owned()).or_default();
        entry.permits = entry.permits.max(entry.held.max(1));
        self.changed.notify_waiters();
    }

    /// Waits for the key's release. Cancel-safe.
    pub(super) async fn hold(&self, key: &str) {
        self.waiting.lock().entry(key.to_owned()).or_default().held += 1;
        self.changed.notify_waiters();
        let _held = Held { keys: self, key };
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.take(key) {
                return;
            }
            changed.await;
        }
    }

    /// The keys that turns and answers wait for now.
    pub(super) fn held(&self) -> Vec<String> {
        let map = self.waiting.lock();
        map.iter().filter(|(_, w)| w.held > 0).map(|(key, _)| key.clone()).collect()
    }

    /// Told of each change.
    pub(super) fn changed(&self) -> &Notify {
        &self.changed
    }

    fn take(&self, key: &str) -> bool {
        let mut map = self.waiting.lock();
        let Some(entry) = map.get_mut(key).filter(|entry| entry.permits > 0) else { return false };
        entry.permits -= 1;
        true
    }
}

/// One wait; gives its place back however it ends.
struct Held<'a> {
    keys: &'a Keys,
    key: &'a str,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut map = self.keys.waiting.lock();
        if let Some(entry) = map.get_mut(self.key) {
            entry.held = entry.held.saturating_sub(1);
            if entry.held == 0 && entry.permits == 0 {
                map.remove(self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_directives_or_echoed() {
        assert_eq!(plan("hold k1", 0), Plan::Hold("k1".to_owned()));
        let pause = Duration::from_millis(5);
        assert_eq!(plan("stream 3 5", 0), Plan::Stream { words: 3, pause });
        let args = "{\"q\":1}".to_owned();
        assert_eq!(plan("tool f {\"q\":1}", 0), Plan::Tool { name: "f".to_owned(), args });
        let text = "You said \"tool f x\". I remember 2 earlier messages.";
        assert_eq!(plan("tool f x", 2), Plan::Say(text.to_owned()));
    }

    #[tokio::test]
    async fn a_key_released_early_lets_the_next_hold_pass_once() {
        let keys = Keys::default();
        keys.release("k");
        keys.hold("k").await;
        let mut second = std::pin::pin!(keys.hold("k"));
        assert!(futures_ready(second.as_mut()).await.is_none());
        assert_eq!(keys.held(), ["k"]);
        keys.release("k");
        second.await;
        assert!(keys.held().is_empty());
    }

    async fn futures_ready<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            std::task::Poll::Ready(out) => std::task::Poll::Ready(Some(out)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }
}
