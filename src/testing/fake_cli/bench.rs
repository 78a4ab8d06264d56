//! The load target's turns: N events of one size at one rate, from a template. No script, no queue.
//!
//! Each event carries, as its `messageId`, the nanoseconds since the epoch at which it was queued.

use std::sync::Arc;
use std::time::Duration;

use super::shell::Shared;
use crate::testing::wire;

/// What each `session.send` streams.
#[derive(Debug, Clone, PartialEq)]
pub struct Bench {
    /// Events per turn.
    pub events: u64,
    /// Bytes of each event's body.
    pub event_bytes: usize,
    /// Bytes of the body of each answer to `session.mode.get`; 0: as few as it takes.
    pub answer_bytes: usize,
    /// Events per second of one session; 0: as fast as they are taken.
    pub rate: u64,
}

/// Past this many bytes that wait for a slow reader, a turn pauses.
const FULL: usize = 256 * 1024;
/// Events between two looks at the clock and at the backlog.
const BATCH: u64 = 64;
/// Where an event's time goes.
const STAMP: &[u8] = b"00000000000000000000";

pub(super) async fn drive(shared: Arc<Shared>, session: String, epoch: u64, bench: Bench) {
    let mut begun = crate::time::now();
    if bench.rate > 0 {
        // Sessions that begin together do not stay in step.
        let share = f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX);
        begun += Duration::from_secs_f64(share / bench.rate as f64);
        tokio::time::sleep_until(begun).await;
    }
    let mut frame = event(&session, "assistant.message_delta", bench.event_bytes);
    let stamp = memchr::memmem::find(&frame, STAMP).unwrap_or_default();
    let mut sent = 0;
    while sent < bench.events {
        let batch = if bench.rate == 0 { BATCH } else { BATCH.min(bench.rate.div_ceil(1000)) };
        let batch = batch.min(bench.events - sent);
        if let Some(room) = frame.get_mut(stamp..stamp + STAMP.len()) {
            let now = crate::time::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            room.copy_from_slice(format!("{:020}", now.as_nanos()).as_bytes());
        }
        if !send(&shared, &session, epoch, &frame, batch).await {
            return;
        }
        sent += batch;
        if bench.rate > 0 {
            let due = Duration::from_secs_f64(sent as f64 / bench.rate as f64);
            tokio::time::sleep_until(begun + due).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
    shared.with(|model| {
        let Some(live) = model.live.get_mut(&session) else { return };
        live.running = false;
        live.queue.clear();
        model.passing(&session, "session.idle", &serde_json::json!({"mode": "interactive"}));
    });
}

/// Writes to all attached; false where the session is gone.
async fn send(shared: &Arc<Shared>, session: &str, epoch: u64, frame: &[u8], times: u64) -> bool {
    let conns: Option<Vec<u64>> = {
        let model = shared.model.lock();
        let live = model.live.get(session).filter(|live| live.epoch == epoch);
        live.map(|live| live.attached.keys().copied().collect())
    };
    let Some(conns) = conns else { return false };
    for outbox in conns.into_iter().filter_map(|conn| shared.outbox(conn)) {
        loop {
            let progress = outbox.progress.notified();
            if outbox.waiting() < FULL || outbox.ending().is_some() {
                break;
            }
            progress.await;
        }
        outbox.push_with(|bytes| {
            for _ in 0..times {
                bytes.extend_from_slice(frame);
            }
        });
    }
    true
}

/// A framed event whose body has `bytes` bytes, or as few as it takes.
fn event(session: &str, kind: &str, bytes: usize) -> Vec<u8> {
    let (head, tail) = (
        format!(
            r#"{{"jsonrpc":"2.0","method":"session.event","params":{{"sessionId":"{session}","event":{{"type":"{kind}","data":{{"messageId":"00000000000000000000","deltaContent":""#
        ),
        format!(
            r#""}},"ephemeral":true,"id":"{}","timestamp":"{}","parentId":null}}}}}}"#,
            super::model::fresh_id(),
            super::model::stamp()
        ),
    );
    let padding = bytes.saturating_sub(head.len() + tail.len());
    wire::frame(&format!("{head}{}{tail}", "x".repeat(padding)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_size_asked_for_and_is_json() {
        let frame = event("s1", "assistant.message_delta", 400);
        let text = String::from_utf8(frame).unwrap();
        let (header, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!((header, body.len()), ("Content-Length: 400", 400));
        let value: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(value["params"]["event"]["type"], "assistant.message_delta");
    }
}
