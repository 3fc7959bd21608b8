//! Work that many wait for at once, and that one does for all of them.

use tokio::sync::Mutex;
use tokio::time::Instant;

/// Work of one kind, one turn at a time: the last that has ended.
#[derive(Debug)]
pub struct Turns<E>(Mutex<Option<Turn<E>>>);

/// A turn, which whoever waits for it may share.
#[derive(Debug)]
struct Turn<E> {
    began: Instant,
    ended: Instant,
    done: Result<(), E>,
}

impl<E> Default for Turns<E> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<E: Clone> Turn<E> {
    /// What it tells somebody who asked at this moment; none where they have to look themselves.
    fn tells(&self, asked: Instant) -> Option<Result<(), E>> {
        match &self.done {
            // It has seen all that there was before it began.
            Ok(()) => (self.began >= asked).then_some(Ok(())),
            // Nobody else gets further at once, and nobody waits for one failure after another.
            Err(why) => (self.ended >= asked).then(|| Err(why.clone())),
        }
    }
}

impl<E: Clone> Turns<E> {
    /// What a turn tells that has begun since the call, another's or this one; or that has failed
    /// since.
    ///
    /// # Errors
    /// Those of the turn.
    pub async fn share(&self, work: impl Future<Output = Result<(), E>>) -> Result<(), E> {
        let asked = Instant::now();
        let mut last = self.0.lock().await;
        if let Some(told) = last.as_ref().and_then(|turn| turn.tells(asked)) {
            return told;
        }
        let began = Instant::now();
        let done = work.await;
        *last = Some(Turn { began, ended: Instant::now(), done: done.clone() });
        done
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::time::{advance, sleep};

    use super::*;

    /// What twenty are told who ask within a turn of two seconds that somebody has begun, and when
    /// after that; and how many turns that took.
    async fn ask_in_a_turn(done: Result<(), u8>) -> (Vec<(Result<(), u8>, Duration)>, u32) {
        let (turns, begun, now) = (Turns::default(), AtomicU32::new(0), Instant::now());
        let ask = || {
            turns.share(async {
                begun.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_secs(2)).await;
                done
            })
        };
        let later = (0..20).map(|_| async {
            sleep(Duration::from_millis(500)).await;
            (ask().await, now.elapsed())
        });
        let (first, told) = tokio::join!(ask(), join_all(later));
        assert_eq!(first, done);
        let turns_begun = begun.load(Ordering::Relaxed);
        // Who asks later looks anew.
        advance(Duration::from_millis(1)).await;
        assert_eq!(ask().await, done);
        assert_eq!(begun.load(Ordering::Relaxed), turns_begun + 1);
        (told, turns_begun)
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_within_a_turn_shares_the_next() {
        assert_eq!(ask_in_a_turn(Ok(())).await, (vec![(Ok(()), Duration::from_secs(4)); 20], 2));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_within_a_turn_shares_its_failure() {
        assert_eq!(ask_in_a_turn(Err(7)).await, (vec![(Err(7), Duration::from_secs(2)); 20], 1));
    }
}
