//! Where the next record goes: numbers in, a decision out.
//!
//! Small memory is fast memory: a writer goes back to offset 0 as soon as it has passed
//! the hot window and the reader has left enough room there; it goes above only while the
//! reader is behind. The jumps and their limits are drawn in the crate's essay.

use crate::record::UNIT;

/// What the writer knows under its lock. Offsets in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// The frontier.
    pub(crate) at: usize,
    pub(crate) run: u32,
    /// Where the frontier's run began.
    pub(crate) start: usize,
    /// The end of the run before it.
    pub(crate) top: usize,
    /// The reader's offset and run.
    pub(crate) head: usize,
    pub(crate) head_run: u32,
    /// Bytes allocated.
    pub(crate) window: usize,
    /// Bytes that can be allocated at most.
    pub(crate) reserve: usize,
    /// Bytes that records may take, unless one enters alone.
    pub(crate) cap: usize,
    /// Nothing is queued: a record of any size may enter.
    pub(crate) empty: bool,
}

/// Where the record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the frontier.
    Here,
    /// After a jump to this offset.
    Jump(usize),
    /// Nowhere yet: the reader has to move, or the window has to grow to so many bytes.
    Nowhere {
        /// The window that would do, if any does while the reader stands where it stands.
        grow_to: Option<usize>,
    },
}

impl View {
    /// The reader stands in our run: everything below it is free.
    fn reader_in_our_run(&self) -> bool {
        self.head_run == self.run
    }

    /// The offset that we must not pass: the reader's, when we wrapped and it did not yet.
    fn ceiling(&self) -> usize {
        let below_reader = self.start == 0 && (self.head_run + 1) & 3 == self.run;
        if below_reader { self.head } else { usize::MAX }
    }

    /// The offset below which records may go at the frontier, as things stand.
    pub(crate) fn limit(&self, hot: usize) -> usize {
        hot.min(self.window).min(self.cap).min(self.ceiling())
    }

    /// The offset up to which the ring may be used for the next record.
    fn most(&self) -> usize {
        if self.empty {
            self.reserve
        } else {
            self.cap.min(self.reserve)
        }
    }

    /// Below `limit` only: the place for a record that takes `need` bytes (itself and the
    /// frontier header after it).
    fn below(&self, need: usize, limit: usize) -> Option<Place> {
        if self.at + need <= limit.min(self.ceiling()) {
            return Some(Place::Here);
        }
        // Beyond the cap, the last record is one that has the ring for itself.
        let alone = self.at > self.cap && !self.empty;
        if self.reader_in_our_run() && self.at > 0 && need <= self.head && !alone {
            return Some(Place::Jump(0));
        }
        None
    }

    /// The place that keeps the window small.
    #[inline]
    pub(crate) fn hot(&self, need: usize, hot: usize) -> Option<Place> {
        self.below(need, hot.min(self.window).min(self.cap))
    }

    /// Any place in the memory that is allocated, or what growth would make one.
    pub(crate) fn anywhere(&self, need: usize) -> Place {
        if let Some(place) = self.below(need, self.window.min(self.most())) {
            return place;
        }
        // The chain can go on above everything in use: at the frontier, unless the reader
        // stands above us; then behind the end of its run.
        let from = if self.ceiling() == usize::MAX {
            self.at
        } else {
            self.top
        };
        let end = from + need;
        if end > self.most() {
            return Place::Nowhere { grow_to: None };
        }
        if end > self.window {
            return Place::Nowhere { grow_to: Some(end) };
        }
        if from == self.at {
            Place::Here
        } else {
            Place::Jump(from)
        }
    }

    /// Could numbers like these stand in a ring that nobody scribbled on?
    pub(crate) fn is_sound(&self) -> bool {
        let last = self.reserve - UNIT;
        self.at <= last
            && self.head <= last
            && self.start <= self.at
            && self.top <= self.reserve
            && self.top.is_multiple_of(UNIT)
            && self.window <= self.reserve
            && self.at < self.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: View = View {
        at: 0,
        run: 0,
        start: 0,
        top: 0,
        head: 0,
        head_run: 0,
        window: 64,
        reserve: 256,
        cap: usize::MAX,
        empty: false,
    };

    #[test]
    fn an_empty_ring_takes_a_record_at_its_frontier() {
        assert_eq!(EMPTY.anywhere(24), Place::Here);
        assert_eq!(EMPTY.anywhere(64), Place::Here);
        assert_eq!(EMPTY.anywhere(72), Place::Nowhere { grow_to: Some(72) });
        assert_eq!(EMPTY.anywhere(264), Place::Nowhere { grow_to: None });
    }

    #[test]
    fn at_the_window_s_end_it_wraps_where_the_reader_left_room() {
        let view = View {
            at: 56,
            head: 24,
            ..EMPTY
        };
        assert_eq!(view.anywhere(24), Place::Jump(0));
        assert_eq!(view.anywhere(32), Place::Nowhere { grow_to: Some(88) });
    }

    #[test]
    fn a_wrapped_writer_stays_below_the_reader_or_goes_above_its_run() {
        let view = View {
            at: 16,
            run: 1,
            start: 0,
            top: 64,
            head: 40,
            head_run: 0,
            ..EMPTY
        };
        assert_eq!(view.anywhere(24), Place::Here);
        assert_eq!(view.anywhere(32), Place::Nowhere { grow_to: Some(96) });
        let grown = View {
            window: 128,
            ..view
        };
        assert_eq!(grown.anywhere(32), Place::Jump(64));
    }

    #[test]
    fn above_a_wrapped_run_nothing_wraps_until_the_reader_is_there() {
        let view = View {
            at: 120,
            run: 2,
            start: 64,
            top: 64,
            head: 40,
            head_run: 0,
            ..EMPTY
        };
        let view = View {
            window: 128,
            ..view
        };
        assert_eq!(view.anywhere(16), Place::Nowhere { grow_to: Some(136) });
        let view = View {
            head_run: 1,
            head: 8,
            ..view
        };
        assert_eq!(view.anywhere(16), Place::Nowhere { grow_to: Some(136) });
        let view = View {
            head_run: 2,
            head: 64,
            ..view
        };
        assert_eq!(view.anywhere(16), Place::Jump(0));
    }

    #[test]
    fn past_the_hot_window_it_goes_back_to_the_start() {
        let view = View {
            at: 40,
            head: 32,
            window: 256,
            ..EMPTY
        };
        assert_eq!(view.hot(24, 48), Some(Place::Jump(0)));
        assert_eq!(view.anywhere(24), Place::Here);
    }

    #[test]
    fn numbers_that_no_writer_writes_are_not_sound() {
        assert!(EMPTY.is_sound());
        for odd in [
            View { at: 64, ..EMPTY },
            View { head: 256, ..EMPTY },
            View { start: 8, ..EMPTY },
            View { top: 264, ..EMPTY },
            View { top: 12, ..EMPTY },
            View {
                window: 264,
                ..EMPTY
            },
        ] {
            assert!(!odd.is_sound(), "{odd:?}");
        }
    }

    #[test]
    fn nothing_follows_a_record_above_the_cap_until_it_is_gone() {
        let view = View {
            at: 120,
            head: 24,
            window: 128,
            cap: 64,
            ..EMPTY
        };
        assert_eq!(view.anywhere(16), Place::Nowhere { grow_to: None });
        assert_eq!(view.hot(16, 1 << 20), None);
        let gone = View {
            head: 120,
            empty: true,
            ..view
        };
        assert_eq!(gone.hot(16, 1 << 20), Some(Place::Jump(0)));
    }

    #[test]
    fn a_record_above_the_cap_enters_alone() {
        let capped = View { cap: 64, ..EMPTY };
        assert_eq!(capped.anywhere(72), Place::Nowhere { grow_to: None });
        let empty = View {
            empty: true,
            ..capped
        };
        assert_eq!(empty.anywhere(72), Place::Nowhere { grow_to: Some(72) });
        let grown = View {
            window: 128,
            ..capped
        };
        assert_eq!(grown.anywhere(72), Place::Nowhere { grow_to: None });
        assert_eq!(
            View {
                window: 128,
                ..empty
            }
            .anywhere(72),
            Place::Here
        );
    }
}
