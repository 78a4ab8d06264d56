//! The gate before the look-ups: how many may be under way at once, and how many may wait for their turn.
//!
//! A look-up's own deadline begins when it is let in. Never drops one that has its place: it is let in, in the order of
//! arrival, or has waited longer than anybody waits for it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::time::Duration;

/// Look-ups of a pool that are under way at once. Each is two questions to each CLI.
const UNDER_WAY: usize = 128;

/// Look-ups that wait for their turn; who comes then is refused.
const WAITING: usize = 8192;

/// See the module's head.
pub(super) struct Gate {
    places: Arc<Semaphore>,
    under_way: Semaphore,
}

/// One that waits or is under way; given back when dropped.
pub(super) struct Place(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

impl Gate {
    pub(super) fn new() -> Self {
        Gate::of(UNDER_WAY, WAITING)
    }

    fn of(under_way: usize, waiting: usize) -> Self {
        Gate {
            places: Arc::new(Semaphore::new(under_way + waiting)),
            under_way: Semaphore::new(under_way),
        }
    }

    /// A place in the line; `None`: it is as long as it may be.
    pub(super) fn place(&self) -> Option<Place> {
        Arc::clone(&self.places).try_acquire_owned().ok().map(Place)
    }

    /// Does it when its turn comes; `None`: that took longer than `patience`.
    pub(super) async fn pass<T>(
        &self,
        _place: Place,
        patience: Duration,
        todo: impl Future<Output = T>,
    ) -> Option<T> {
        let turn = tokio::time::timeout(patience, self.under_way.acquire()).await;
        let _turn = turn.ok()?.ok()?;
        Some(todo.await)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn no_more_than_so_many_are_under_way_and_all_get_their_turn() {
        let gate = Arc::new(Gate::of(2, 3));
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..5 {
            let (gate, now, most) = (Arc::clone(&gate), Arc::clone(&now), Arc::clone(&most));
            let place = gate.place().unwrap();
            all.spawn(async move {
                let look_up = async {
                    most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    tokio::time::sleep(SECOND).await;
                    now.fetch_sub(1, Ordering::Relaxed);
                };
                gate.pass(place, 3 * SECOND, look_up).await
            });
        }
        assert!(gate.place().is_none());
        assert_eq!(all.join_all().await, [Some(()); 5]);
        assert_eq!(most.load(Ordering::Relaxed), 2);
        assert!(gate.place().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_nobody_waits_for_any_more_is_not_begun() {
        let gate = Gate::of(1, 2);
        let (first, second) = (gate.place().unwrap(), gate.place().unwrap());
        let long = gate.pass(first, SECOND, tokio::time::sleep(5 * SECOND));
        let late = gate.pass(second, SECOND, async { panic!("it was begun") });
        assert_eq!(tokio::join!(long, late), (Some(()), None::<()>));
    }
}
