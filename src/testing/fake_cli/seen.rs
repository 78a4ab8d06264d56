//! What the fake was told, in order: for assertions. Never read by the fake itself.

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;

use crate::testing::wire::{self, Message};

/// One frame as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// The connection, numbered from 1 in the order of accepting.
    pub conn: u64,
    /// The body, byte for byte.
    pub raw: Bytes,
    /// What it was; `None` where it could not be read.
    pub message: Option<Message>,
}

impl Received {
    /// The method of a request or notification, else "".
    pub fn method(&self) -> &str {
        match &self.message {
            Some(Message::Request { method, .. } | Message::Notification { method, .. }) => method,
            Some(Message::Response { .. }) | None => "",
        }
    }

    /// The parameters of a request or notification, else null.
    pub fn params(&self) -> Value {
        match &self.message {
            Some(Message::Request { params, .. } | Message::Notification { params, .. }) => {
                params.clone()
            }
            Some(Message::Response { .. }) | None => Value::Null,
        }
    }
}

/// The record.
#[derive(Debug, Default)]
pub(super) struct Seen {
    frames: Mutex<Vec<Received>>,
    pub(super) changed: Notify,
}

impl Seen {
    pub(super) fn push(&self, conn: u64, raw: &Bytes) {
        let message = wire::read(raw).ok();
        self.frames.lock().push(Received { conn, raw: raw.clone(), message });
        self.changed.notify_waiters();
    }

    pub(super) fn all(&self) -> Vec<Received> {
        self.frames.lock().clone()
    }
}
