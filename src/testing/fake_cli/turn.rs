//! Runs the queue of one session: turns one after another, and one `session.idle` at the end.
//! Holds no state of its own; a session that was evicted in between is noticed by its epoch.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::model::{Live, Model, Queued, fresh_id};
use super::script::{self, Plan};
use super::shell::Shared;
use super::tool;

/// How a part of a turn ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// As it should.
    Done,
    /// By `session.abort`.
    Aborted,
    /// A tool call was rejected.
    Rejected,
    /// The session is not in memory any more.
    Gone,
}

pub(super) struct Turn {
    pub(super) shared: Arc<Shared>,
    pub(super) session: String,
    pub(super) epoch: u64,
    pub(super) interaction: String,
    message: String,
    /// Bytes that the model has streamed in this turn.
    streamed: AtomicUsize,
}

/// Runs turns until the queue is empty.
pub(super) async fn drive(shared: Arc<Shared>, session: String, epoch: u64) {
    let mut turn = Turn {
        shared,
        session,
        epoch,
        interaction: String::new(),
        message: String::new(),
        streamed: AtomicUsize::new(0),
    };
    while let Some(next) = turn.next() {
        turn.interaction = fresh_id();
        turn.message = next.message.clone();
        turn.streamed = AtomicUsize::new(0);
        if turn.run(next).await == End::Gone {
            return;
        }
    }
}

impl Turn {
    /// Changes the model, if the session is still the one that the turn began in.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Model) -> T) -> Option<T> {
        self.shared.with(|model| {
            let live = model.live.get(&self.session)?;
            (live.epoch == self.epoch).then(|| change(model))
        })
    }

    pub(super) fn live<T>(&self, read: impl FnOnce(&mut Live) -> T) -> Option<T> {
        self.with(|model| model.live.get_mut(&self.session).map(read))?
    }

    pub(super) fn event(&self, kind: &str, data: Value) {
        self.with(|model| model.event(&self.session, kind, &data));
    }

    pub(super) fn passing(&self, kind: &str, data: Value) {
        self.with(|model| model.passing(&self.session, kind, &data));
    }

    /// The model streamed so many bytes more.
    pub(super) fn streamed(&self, bytes: usize) {
        let total = self.streamed.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.passing("assistant.streaming_delta", json!({"totalResponseSizeBytes": total}));
    }

    /// Returns once the turn is aborted; never where the session is gone.
    pub(super) async fn aborted(&self) {
        let Some(mut abort) = self.live(|live| live.abort.subscribe()) else {
            return std::future::pending().await;
        };
        if abort.wait_for(|aborted| *aborted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The next of the queue; where it is empty, the session becomes idle.
    fn next(&self) -> Option<Queued> {
        let session = &self.session;
        self.with(|model| {
            let live = model.live.get_mut(session)?;
            let next = live.queue.pop_front();
            if next.is_some() {
                model.passing(session, "pending_messages.modified", &json!({}));
                return next;
            }
            live.running = false;
            let aborted = live.abort.send_replace(false);
            let mode = live.mode.clone();
            for reply in std::mem::take(&mut live.abort_replies) {
                model.answer(reply, Ok(r#"{"success":true}"#.to_owned()));
            }
            let (turns, idle) = if aborted {
                (json!({"aborted": true}), json!({"aborted": true, "mode": mode}))
            } else {
                (json!({}), json!({"mode": mode}))
            };
            model.passing(session, "assistant.idle", &turns);
            model.passing(session, "session.idle", &idle);
            None
        })?
    }

    async fn run(&self, next: Queued) -> End {
        self.greet(&next).await;
        let Some((provider, earlier)) = self.live(|live| {
            let sent = live.history.iter().filter(|event| event.kind == "user.message");
            (live.provider, sent.count())
        }) else {
            return End::Gone;
        };
        if !provider {
            let message =
                "Execution failed: InvalidArg, No GitHub OAuth token or Copilot HMAC key provided";
            self.event("session.error", json!({"errorType": "query", "message": message}));
            return End::Done;
        }
        tool::hook(self, "userPromptSubmitted", json!({"prompt": next.prompt})).await;
        tool::hook(self, "userPromptTransformed", json!({"prompt": next.prompt})).await;
        self.event(
            "user.message",
            json!({
                "content": next.prompt, "messageId": next.message, "delivery": next.delivery,
                "interactionId": self.interaction, "turnId": "0",
            }),
        );
        let end = self.rounds(script::plan(&next.prompt, earlier)).await;
        if end == End::Done {
            tool::hook(self, "agentStop", json!({"stopReason": "end_turn"})).await;
        }
        end
    }

    async fn greet(&self, next: &Queued) {
        let greeted = self.live(|live| std::mem::replace(&mut live.greeted, true));
        if greeted == Some(false) {
            tool::hook(self, "sessionStart", json!({"initialPrompt": next.prompt})).await;
        }
        let named = self.live(|live| {
            let named = live.summary.is_some();
            live.summary.get_or_insert_with(|| next.prompt.clone());
            named
        });
        if named == Some(false) {
            self.passing("session.title_changed", json!({"title": next.prompt}));
        }
    }

    /// One round, or two where a tool is called between them.
    async fn rounds(&self, plan: Plan) -> End {
        self.begin("0");
        let first = match plan {
            Plan::Tool { name, args } => match tool::call(self, &name, &args).await {
                Ok(said) => {
                    self.finish("0");
                    self.begin("1");
                    let end = self.say("1", &format!("The tool said: {said}")).await;
                    self.finish("1");
                    return end;
                }
                Err(end) => end,
            },
            Plan::Say(text) => self.say("0", &text).await,
            Plan::Hold(key) => self.hold(&key).await,
            Plan::Stream { words, pause } => self.stream(words, pause).await,
        };
        self.finish("0");
        if first == End::Rejected {
            self.event("abort", json!({"reason": "user_initiated"}));
        }
        first
    }

    fn begin(&self, turn: &str) {
        let data = json!({"turnId": turn, "interactionId": self.interaction});
        self.event("assistant.turn_start", data);
    }

    fn finish(&self, turn: &str) {
        self.event("assistant.turn_end", json!({ "turnId": turn }));
    }

    async fn say(&self, turn: &str, text: &str) -> End {
        let mut speech = Speech::new(self);
        for word in script::words(text) {
            speech.word(&word);
        }
        speech.end(turn, &[])
    }

    async fn hold(&self, key: &str) -> End {
        let mut speech = Speech::new(self);
        speech.word("holding ");
        tokio::select! {
            () = self.shared.keys.hold(key) => {}
            () = self.aborted() => return End::Aborted,
        }
        speech.word(&format!("and released {key}"));
        speech.end("0", &[])
    }

    async fn stream(&self, words: u32, pause: std::time::Duration) -> End {
        let mut speech = Speech::new(self);
        for n in 1..=words {
            speech.word(&format!("word{n} "));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.aborted() => return End::Aborted,
            }
        }
        speech.end("0", &[])
    }
}

/// One message of the assistant, said word by word where the session streams.
pub(super) struct Speech<'a> {
    turn: &'a Turn,
    id: String,
    text: String,
    streams: bool,
}

impl<'a> Speech<'a> {
    pub(super) fn new(turn: &'a Turn) -> Self {
        let streams = turn.live(|live| live.streaming).unwrap_or(false);
        Speech { turn, id: fresh_id(), text: String::new(), streams }
    }

    fn word(&mut self, word: &str) {
        let first = self.text.is_empty();
        self.text.push_str(word);
        if !self.streams {
            return;
        }
        self.turn.streamed(word.len());
        if first {
            self.turn.passing("assistant.message_start", json!({"messageId": self.id}));
        }
        let delta = json!({"messageId": self.id, "deltaContent": word});
        self.turn.passing("assistant.message_delta", delta);
    }

    /// The whole message, with the tools that it asks for.
    pub(super) fn end(self, turn: &str, tools: &[Value]) -> End {
        let data = json!({
            "messageId": self.id, "originatingMessageId": self.turn.message, "model": "fake",
            "content": self.text, "toolRequests": tools, "turnId": turn,
            "interactionId": self.turn.interaction,
        });
        match self.turn.with(|model| model.event(&self.turn.session, "assistant.message", &data)) {
            Some(()) => End::Done,
            None => End::Gone,
        }
    }
}
