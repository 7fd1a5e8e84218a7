//! Hand-over mode: ends that a thread drops in it go to a child instead of being closed.

use crate::identity::Identity;
use std::cell::Cell;

thread_local! {
    static HEIR: Cell<Option<(u32, Option<Identity>)>> = const { Cell::new(None) };
}

/// Runs `f` in hand-over mode: every registered end that this thread drops inside is
/// re-assigned to the process `child` instead of being closed.
pub fn to<R>(child: u32, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<(u32, Option<Identity>)>);
    impl Drop for Restore {
        fn drop(&mut self) {
            HEIR.set(self.0);
        }
    }
    let _restore = Restore(HEIR.replace(Some((child, None))));
    f()
}

/// Does this thread hand over what it drops?
pub fn is_on() -> bool {
    HEIR.get().is_some()
}

/// The process to which this thread hands over what it drops, for handles that are no ends.
pub fn child() -> Option<u32> {
    HEIR.get().map(|(child, _)| child)
}

/// Who gets the ends that this thread drops now: `None` outside of hand-over mode. Looked
/// up once per hand-over, when the first end is dropped. An heir that is dead already
/// gets its ends all the same: they count as closed, by the same rule as any dead owner's.
pub(crate) fn heir() -> Option<Identity> {
    let (pid, known) = HEIR.get()?;
    let heir = known.or_else(|| Identity::of(pid));
    HEIR.set(Some((pid, heir)));
    heir
}
