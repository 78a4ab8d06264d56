//! Who waits for room, and who is next: first come, first served within a line, and one line after the other.
//!
//! It knows neither what is waited for nor any clock. Who does not fit is passed over, and keeps its place.

use std::collections::VecDeque;

/// A fair queue: each `K` has a line of its own.
#[derive(Debug)]
pub struct Queue<K, T> {
    /// None of them is empty; the first one's turn is next.
    lines: VecDeque<(K, VecDeque<T>)>,
    length: usize,
    limit: usize,
}

impl<K: Eq, T> Queue<K, T> {
    /// An empty queue in which at most so many wait.
    pub fn new(limit: usize) -> Self {
        Queue { lines: VecDeque::new(), length: 0, limit }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// All who wait.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.lines.iter().flat_map(|(_, line)| line)
    }

    /// One more waits. Returns who has to go for want of room: the last of the longest line, so that nobody fills the
    /// queue for the others; or the new one itself.
    pub fn push(&mut self, key: K, item: T) -> Option<T> {
        let mut out = None;
        if self.length >= self.limit {
            let own = self.lines.iter().find(|(k, _)| *k == key).map_or(0, |(_, line)| line.len());
            let longest = self.lines.iter_mut().max_by_key(|(_, line)| line.len());
            let Some((_, line)) = longest.filter(|(_, line)| line.len() > own + 1) else {
                return Some(item);
            };
            out = line.pop_back();
            self.length -= 1;
        }
        match self.lines.iter_mut().find(|(k, _)| *k == key) {
            Some((_, line)) => line.push_back(item),
            None => self.lines.push_back((key, VecDeque::from([item]))),
        }
        self.length += 1;
        out
    }

    /// Takes the next that fits. Its line goes behind the others.
    pub fn next(&mut self, mut fits: impl FnMut(&T) -> bool) -> Option<T> {
        let found = self
            .lines
            .iter()
            .enumerate()
            .find_map(|(at, (_, line))| Some((at, line.iter().position(&mut fits)?)));
        let (at, place) = found?;
        let (key, mut line) = self.lines.remove(at)?;
        let item = line.remove(place);
        self.length -= 1;
        if !line.is_empty() {
            self.lines.push_back((key, line));
        }
        item
    }

    /// Takes out all that are not to stay, in no order.
    pub fn remove(&mut self, mut goes: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut out = Vec::new();
        for (_, line) in &mut self.lines {
            let (gone, stay) = std::mem::take(line).into_iter().partition::<Vec<T>, _>(&mut goes);
            *line = stay.into();
            out.extend(gone);
        }
        self.lines.retain(|(_, line)| !line.is_empty());
        self.length -= out.len();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn queue(limit: usize, items: &[(char, u32)]) -> Queue<char, u32> {
        let mut queue = Queue::new(limit);
        for (key, item) in items {
            assert_eq!(queue.push(*key, *item), None);
        }
        queue
    }

    fn all(mut queue: Queue<char, u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.next(|_| true)).collect()
    }

    #[test]
    fn lines_take_turns_and_within_a_line_the_first_is_first() {
        let queue = queue(9, &[('a', 1), ('a', 2), ('a', 3), ('b', 4), ('c', 5), ('b', 6)]);
        assert_eq!(all(queue), [1, 4, 5, 2, 6, 3]);
    }

    #[test]
    fn who_does_not_fit_holds_up_nobody_and_keeps_its_place() {
        let mut queue = queue(9, &[('a', 1), ('a', 2), ('b', 3)]);
        assert_eq!(queue.next(|n| *n != 1), Some(2));
        assert_eq!(queue.next(|n| *n > 9), None);
        assert_eq!(all(queue), [3, 1]);
    }

    #[test]
    fn a_full_queue_turns_away_the_last_of_the_longest_line() {
        let mut queue = queue(4, &[('a', 1), ('a', 2), ('a', 3), ('a', 4)]);
        assert_eq!(queue.push('a', 5), Some(5), "nobody gains by coming again");
        assert_eq!(queue.push('b', 6), Some(4));
        assert_eq!(queue.push('b', 7), Some(3));
        assert_eq!(queue.push('b', 8), Some(8), "the lines are as good as equal");
        assert_eq!(queue.push('c', 9), Some(7));
        assert_eq!(all(queue), [1, 6, 9, 2]);
    }

    #[test]
    fn where_nobody_may_wait_nobody_does() {
        assert_eq!(queue(0, &[]).push('a', 1), Some(1));
    }

    proptest! {
        #[test]
        fn nobody_is_lost_or_doubled_and_nobody_waits_longer_than_one_round(
            items in prop::collection::vec((0..5u8, any::<bool>()), 0..60),
        ) {
            let mut queue = Queue::new(40);
            let mut inside = std::collections::BTreeSet::new();
            for (n, (key, takes)) in items.iter().enumerate() {
                inside.insert(n);
                if let Some(out) = queue.push(*key, n) {
                    prop_assert!(inside.remove(&out));
                }
                if *takes {
                    let lines = queue.lines.len();
                    let heads: Vec<usize> = queue.lines.iter().map(|(_, line)| line[0]).collect();
                    let next = queue.next(|_| true).unwrap();
                    prop_assert_eq!(next, heads[0]);
                    prop_assert!(inside.remove(&next));
                    prop_assert!(queue.lines.len() <= lines);
                }
                prop_assert_eq!(queue.len(), inside.len());
                prop_assert!(queue.lines.iter().all(|(_, line)| !line.is_empty()));
            }
            let rest: std::collections::BTreeSet<usize> =
                std::iter::from_fn(|| queue.next(|_| true)).collect();
            prop_assert_eq!(rest, inside);
        }
    }
}
