//! What a ledger gives for what it was told: a future that says when it is durable. Does no work when polled.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::LedgerError;

/// Resolves once what the ledger was told would survive a crash, or with the reason why it does not. Dropping it undoes
/// nothing.
#[must_use = "what is not durable may be lost"]
pub struct Receipt(State);

enum State {
    Known(Result<(), LedgerError>),
    Waiting(oneshot::Receiver<Result<(), LedgerError>>),
}

impl Receipt {
    /// Durable, or as durable as this ledger makes it.
    pub(super) fn durable() -> Self {
        Receipt(State::Known(Ok(())))
    }

    /// Durable once the writer says so.
    pub(super) fn waiting(answer: oneshot::Receiver<Result<(), LedgerError>>) -> Self {
        Receipt(State::Waiting(answer))
    }

    pub(super) fn failed(error: LedgerError) -> Self {
        Receipt(State::Known(Err(error)))
    }
}

impl Future for Receipt {
    type Output = Result<(), LedgerError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Known(result) => Poll::Ready(result.clone()),
            State::Waiting(answer) => {
                // Nobody is left who could write it.
                let result = std::task::ready!(Pin::new(answer).poll(cx));
                let result = result.unwrap_or(Err(LedgerError::Closed));
                self.0 = State::Known(result.clone());
                Poll::Ready(result)
            }
        }
    }
}
