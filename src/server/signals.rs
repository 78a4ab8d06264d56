//! Signals of the process, as orders to leave. Decides nothing about how that is done.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::drain::Mode;

/// The signals that a server listens to.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr1: Signal,
    usr2: Signal,
}

impl Signals {
    /// Listens from here on. Errors: the system's.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Passes on each signal that asks us to leave, for as long as somebody listens.
    pub(super) async fn forward(mut self, asked: mpsc::Sender<Mode>) {
        loop {
            let mode = self.next().await;
            if asked.send(mode).await.is_err() {
                return;
            }
        }
    }

    async fn next(&mut self) -> Mode {
        loop {
            tokio::select! {
                _ = self.term.recv() => return Mode::Drain,
                _ = self.int.recv() => return Mode::Now,
                _ = self.hup.recv() => tracing::warn!("HUP: this version cannot reload its config"),
                _ = self.usr1.recv() => {}
                _ = self.usr2.recv() => tracing::warn!("USR2: this version cannot hand over"),
            }
        }
    }
}
