//! The memory of a limit: a table of fixed size, without a lock.
//!
//! A key is a digest of 64 bits under a secret of the process. It chooses a set of eight cells,
//! which fill one line of the processor's cache; 16 further bits of it mark the cell that is the
//! key's. A cell is one word: the mark, and the moment when the key's quota is whole again.
//!
//! A new key takes the cell whose quota is whole soonest, which as a rule is whole already and so
//! says nothing. In a set where eight keys have spent more than that, the one that has spent least
//! is forgotten: a flood of keys costs those who hardly came, in their favour, and a key that has
//! exhausted its quota is kept. Nobody is refused because a table is full.
//!
//! Two keys are taken for one when they meet in a set and in their marks: for a key that comes
//! anew, a chance of at most 8 in 65,536, and only against keys that are in use.

use std::sync::atomic::{AtomicU64, Ordering};

use super::quota::Micros;

/// Cells of a set.
const WAYS: usize = 8;
/// Bits of a cell that hold the moment: 8.9 years.
const MOMENT_BITS: u32 = 48;
const MOMENT_MAX: Micros = (1 << MOMENT_BITS) - 1;

/// Cells of one line of the cache.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

/// Moments by key.
#[derive(Debug)]
pub(super) struct Table {
    sets: Box<[Set]>,
}

/// Where a key is, or would be.
struct Place<'a> {
    cell: &'a AtomicU64,
    /// What the cell holds.
    word: u64,
    /// The key's moment; zero when the cell is another's.
    moment: Micros,
}

impl Table {
    /// A table that keeps at least so many keys, were they spread evenly; it takes 8 bytes for
    /// each, and at most twice that.
    pub(super) fn new(keys_max: usize) -> Self {
        let sets = keys_max.div_ceil(WAYS).next_power_of_two();
        Self { sets: (0..sets).map(|_| Set::default()).collect() }
    }

    /// The moment of a key; zero when nothing is known of it.
    pub(super) fn read(&self, key: u64) -> Micros {
        self.place(key).moment
    }

    /// Changes the moment of a key. `change` may be asked more than once, when others change the
    /// same cell; with an error, nothing is changed.
    pub(super) fn change<E>(
        &self,
        key: u64,
        change: impl Fn(Micros) -> Result<Micros, E>,
    ) -> Result<Micros, E> {
        loop {
            let Place { cell, word, moment } = self.place(key);
            let moment = change(moment)?.min(MOMENT_MAX);
            let new = mark(key) << MOMENT_BITS | moment;
            // Nothing else is published by the word: it is all there is.
            let changed = cell.compare_exchange(word, new, Ordering::Relaxed, Ordering::Relaxed);
            if changed.is_ok() {
                return Ok(moment);
            }
        }
    }

    /// The key's own cell, or the one that it may take.
    fn place(&self, key: u64) -> Place<'_> {
        let mut soonest = None;
        for cell in &self.set(key).0 {
            let word = cell.load(Ordering::Relaxed);
            let moment = word & MOMENT_MAX;
            if moment > 0 && word >> MOMENT_BITS == mark(key) {
                return Place { cell, word, moment };
            }
            if soonest.is_none_or(|(_, _, before)| moment < before) {
                soonest = Some((cell, word, moment));
            }
        }
        let (cell, word, _) = soonest.expect("a set has cells");
        Place { cell, word, moment: 0 }
    }

    fn set(&self, key: u64) -> &Set {
        // The number of sets is a power of two.
        let number = usize::try_from(key & u64::from(u32::MAX)).unwrap_or(0);
        &self.sets[number & (self.sets.len() - 1)]
    }
}

/// The bits of a key that mark its cell; other bits than those that choose the set.
const fn mark(key: u64) -> u64 {
    key >> MOMENT_BITS
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    fn set(table: &Table, key: u64, moment: Micros) {
        let changed: Result<_, Infallible> = table.change(key, |_| Ok(moment));
        assert_eq!(changed, Ok(moment));
    }

    fn bytes(table: &Table) -> usize {
        size_of_val(&*table.sets)
    }

    #[test]
    fn a_set_is_one_line_of_the_cache() {
        assert_eq!(size_of::<Set>(), 64);
        assert_eq!(align_of::<Set>(), 64);
        assert_eq!(bytes(&Table::new(65_536)), 512 * 1024);
        assert_eq!(bytes(&Table::new(65_537)), 1024 * 1024);
        assert_eq!(bytes(&Table::new(1)), 64);
    }

    #[test]
    fn keys_of_one_set_are_told_apart() {
        let table = Table::new(WAYS);
        let keys: Vec<u64> = (0..8).map(|mark| mark << MOMENT_BITS).collect();
        for (moment, key) in (1..).zip(&keys) {
            assert_eq!(table.read(*key), 0);
            set(&table, *key, moment);
        }
        for (moment, key) in (1..).zip(&keys) {
            assert_eq!(table.read(*key), moment);
        }
        let refused = table.change(keys[0], Err);
        assert_eq!((refused, table.read(keys[0])), (Err(1), 1), "an error changes nothing");
    }

    #[test]
    fn a_new_key_takes_the_place_of_the_one_that_is_whole_soonest() {
        let table = Table::new(WAYS);
        for mark in 0..8 {
            set(&table, mark << MOMENT_BITS, 100 + mark);
        }
        set(&table, 9 << MOMENT_BITS, 103);
        assert_eq!(table.read(0), 0, "forgotten");
        assert_eq!(table.read(1 << MOMENT_BITS), 101, "kept");
        assert_eq!(table.read(9 << MOMENT_BITS), 103);
    }

    #[test]
    fn a_moment_beyond_the_word_is_cut_to_it() {
        let table = Table::new(WAYS);
        let changed: Result<_, Infallible> = table.change(5 << MOMENT_BITS, |_| Ok(u64::MAX));
        assert_eq!(changed, Ok(MOMENT_MAX));
        assert_eq!(table.read(5 << MOMENT_BITS), MOMENT_MAX);
    }

    /// A million keys that come once each, among which one has spent much and some a little.
    #[test]
    fn a_flood_takes_no_memory_and_no_heavy_key_is_forgotten() {
        let (table, secret) = (Table::new(65_536), RandomState::new());
        let (before, key) = (bytes(&table), |number: u32| secret.hash_one(number));
        let heavy = key(u32::MAX);
        set(&table, heavy, 1_000_000);
        for number in 0..1_000_000 {
            set(&table, key(number), 1_000 + u64::from(number) / 1_000);
        }
        assert_eq!(bytes(&table), before);
        assert_eq!(table.read(heavy), 1_000_000);
        let fresh = (1_000_000..1_010_000).filter(|number| table.read(key(*number)) == 0).count();
        // By the bound of a collision some 12 of 10,000 are taken for another.
        assert!(fresh > 9_900, "only {fresh} of 10,000 new keys are new");
    }

    #[test]
    fn no_change_is_lost_between_threads() {
        let table = Table::new(WAYS);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let _: Result<_, Infallible> = table.change(7, |moment| Ok(moment + 1));
                    }
                });
            }
        });
        assert_eq!(table.read(7), 40_000);
    }
}
