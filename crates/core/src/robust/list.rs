//! This thread's robust list, shared with glibc, and our private shadow of it.
//!
//! The kernel walks the list from its head in the thread's control block; glibc puts its
//! own robust mutexes in front, as we do. What stands in shared memory is written for the
//! kernel and not believed afterwards: the shadow remembers which of our locks are linked,
//! in order. Only where a pthread robust mutex stands next to one of ours are links read
//! back, and then a value counts only if it is one that stood there when we linked.

use super::RobustLock;
use multiproc_segment::{local::Local, parking};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering::*, compiler_fence};

/// The kernel stops walking after this many entries.
const MOST: usize = 2048;
/// From the lock word to its list entry, as glibc has it.
const ENTRY_AT: usize = 32;
/// From an entry back to its `prev`.
const PREV_BEFORE: usize = 8;

/// The kernel's `struct robust_list_head`.
#[repr(C)]
struct Head {
    first: Cell<usize>,
    futex_offset: Cell<isize>,
    pending: Cell<usize>,
}

/// What one thread holds. Written by its thread; read by others that ask whether a mapping
/// may go ([`parking`]).
struct Thread {
    tid: Cell<u32>,
    /// Locks held, linked or not.
    held: Cell<usize>,
    /// The kernel's head of this thread's list; null where it cannot be used.
    head: *const Head,
    /// Entries (addresses of `next` fields), oldest first.
    entries: [AtomicUsize; MOST],
    len: AtomicUsize,
    /// For entries of ours in front of foreign ones: what stood behind, nearest first.
    foreign: RefCell<Vec<(usize, Vec<usize>)>>,
    /// Is that list not empty?
    has_foreign: Cell<bool>,
}

/// This thread, as one lock needs it. Not `Send`.
#[derive(Clone, Copy)]
pub(super) struct Mine {
    /// This thread's [`Thread`]: lives as long as the thread, or as it holds locks.
    thread: *const Thread,
    /// The head of its list, if the lock gets linked; else null. (Whole words: a guard is
    /// moved around, and bytes make that slow.)
    head: *const Head,
}

impl Mine {
    #[inline]
    fn thread<'a>(self) -> &'a Thread {
        // SAFETY: see the field. A `Mine` lives in a guard at the longest, and `held`
        // counts those; it does not leave its thread.
        unsafe { &*self.thread }
    }

    #[inline]
    fn head<'a>(self) -> Option<&'a Head> {
        // SAFETY: null, or in the thread's control block, which lives as long as the thread.
        unsafe { self.head.as_ref() }
    }

    #[inline]
    pub(super) fn tid(self) -> u32 {
        self.thread().tid.get()
    }
}

thread_local! {
    static THREAD: Cell<*const Thread> = const { Cell::new(std::ptr::null()) };
    static AT_END: AtEnd = const { AtEnd };
}

/// Every [`Thread`] in this process, as addresses.
static THREADS: Local<Vec<usize>> = Local::new(Vec::new());

struct AtEnd;

impl Drop for AtEnd {
    /// The thread ends. A lock that it still holds is the kernel's business in a moment,
    /// and its mapping has to be there then (and a guard may still be dropped): such a
    /// record stays for good.
    fn drop(&mut self) {
        let thread = THREAD.replace(std::ptr::null());
        // SAFETY: null, or the box that `begin` leaked for this thread.
        if let Some(t) = unsafe { thread.as_ref() }
            && t.held.get() == 0
        {
            THREADS.with(|all| all.retain(|p| *p != thread as usize));
            // SAFETY: leaked by `begin`, off the list of all, in nobody's hands.
            drop(unsafe { Box::from_raw(thread.cast_mut()) });
        }
    }
}

fn holds_lock_in(start: usize, bytes: usize) -> bool {
    THREADS.with(|all| {
        all.iter().any(|p| {
            // SAFETY: an address in the list is a live, leaked `Thread`; its owner takes it
            // off the list, under the same lock, before freeing it.
            let thread = unsafe { &*(*p as *const Thread) };
            let len = thread.len.load(Acquire).min(MOST); // PAIRS shadow-len
            thread.entries[..len].iter().any(|e| (start..start + bytes).contains(&e.load(Relaxed)))
        })
    })
}

/// Locks that the calling thread holds.
pub(crate) fn held_here() -> usize {
    // SAFETY: null, or this thread's own.
    unsafe { THREAD.get().as_ref() }.map_or(0, |t| t.held.get())
}

fn gettid() -> u32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::syscall(libc::SYS_gettid) as u32 }
}

/// A forked child has one thread, which holds nothing: the kernel gave it an empty list
/// (glibc says so), and its locks are its parent's.
pub(crate) fn forget_in_child() {
    let thread = THREAD.get();
    // SAFETY: null, or this thread's own box.
    if let Some(t) = unsafe { thread.as_ref() } {
        t.tid.set(gettid());
        t.held.set(0);
        t.len.store(0, Relaxed);
        t.foreign.borrow_mut().clear();
        t.has_foreign.set(false);
    }
    // The parent's other threads do not exist here: their records go from the list (the
    // boxes leak, once per fork from a threaded parent).
    THREADS.with(|all| all.retain(|p| *p == thread as usize));
}

fn kernel_head() -> *const Head {
    let mut head: *const Head = std::ptr::null();
    let mut bytes = 0_usize;
    if std::env::var_os("MULTIPROC_NO_ROBUST_LIST").is_some() {
        return head;
    }
    // SAFETY: two local out-parameters; 0 means this thread.
    let r = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut bytes) };
    if r != 0 || head.is_null() || bytes != size_of::<Head>() {
        return std::ptr::null();
    }
    // SAFETY: the kernel was told this address by this thread's C library; it lives as long
    // as the thread.
    let offset = unsafe { (*head).futex_offset.get() };
    if offset == -(ENTRY_AT as isize) { head } else { std::ptr::null() }
}

#[cold]
fn begin() -> *const Thread {
    crate::fork::watch();
    parking::ask(holds_lock_in);
    let thread: *const Thread = Box::leak(Box::new(Thread {
        tid: Cell::new(gettid()),
        held: Cell::new(0),
        head: kernel_head(),
        entries: [const { AtomicUsize::new(0) }; MOST],
        len: AtomicUsize::new(0),
        foreign: RefCell::new(Vec::new()),
        has_foreign: Cell::new(false),
    }));
    THREADS.with(|all| all.push(thread as usize));
    // Fails while the thread is being torn down; then its record stays for good.
    let _ = AT_END.try_with(|_| {});
    THREAD.set(thread);
    thread
}

#[inline]
fn entry_of(lock: &RobustLock) -> usize {
    &raw const lock.next as usize
}

/// This thread, for `lock`.
#[inline]
pub(super) fn mine(lock: &RobustLock) -> Mine {
    let mut thread = THREAD.get();
    if thread.is_null() {
        thread = begin();
    }
    let head = match lock.settled.load(Relaxed) {
        0 => std::ptr::null(),
        // SAFETY: not null, so this thread's own.
        _ => unsafe { (*thread).head },
    };
    Mine { thread, head }
}

/// Names the lock as the one this thread is working at (Invariant 3).
#[inline]
pub(super) fn about_to(lock: &RobustLock, mine: Mine) {
    if let Some(head) = mine.head() {
        // If we die right after, the kernel looks at a lock that is mapped.
        head.pending.set(entry_of(lock));
    }
    compiler_fence(SeqCst); // the kernel reads what this thread wrote, in program order
}

/// The work is done: nothing is pending.
#[inline]
pub(super) fn done(_lock: &RobustLock, mine: Mine) {
    compiler_fence(SeqCst);
    if let Some(head) = mine.head() {
        head.pending.set(0);
    }
}

/// Puts a lock that this thread just took in front of its list.
#[inline]
pub(super) fn link(lock: &RobustLock, mine: Mine) {
    let thread = mine.thread();
    thread.held.set(thread.held.get() + 1);
    let Some(head) = mine.head() else {
        return;
    };
    let len = thread.len.load(Relaxed);
    if len == MOST {
        return; // beyond what the kernel walks: found by its thread id instead
    }
    let entry = entry_of(lock);
    let first = head.first.get();
    if first != expected_first(head, thread, len) {
        note_foreign(head, thread, len, entry);
    }
    lock.next.store(first as u64, Relaxed);
    compiler_fence(SeqCst); // the entry leads on before the head leads to it
    thread.entries[len].store(entry, Relaxed);
    // Release. PAIRS shadow-len: the Acquire in `holds_lock_in`.
    thread.len.store(len + 1, Release);
    head.first.set(entry);
}

/// What the head points to while only our locks are linked.
#[inline]
fn expected_first(head: &Head, thread: &Thread, len: usize) -> usize {
    match len {
        0 => std::ptr::from_ref(head) as usize,
        n => thread.entries[n - 1].load(Relaxed),
    }
}

/// Takes a lock that this thread is about to free off its list.
#[inline]
pub(super) fn unlink(lock: &RobustLock, mine: Mine) {
    let thread = mine.thread();
    thread.held.set(thread.held.get().saturating_sub(1));
    let Some(head) = mine.head() else {
        return;
    };
    let entry = entry_of(lock);
    let len = thread.len.load(Relaxed);
    if len > 0
        && thread.entries[len - 1].load(Relaxed) == entry
        && head.first.get() == entry
        && !thread.has_foreign.get()
    {
        head.first.set(expected_first(head, thread, len - 1));
        thread.len.store(len - 1, Relaxed);
    } else {
        unlink_anywhere(head, thread, entry);
    }
    compiler_fence(SeqCst); // off the list before the word is free
}

/// A glibc entry's bit 0 marks a priority-inheriting mutex; it is no part of the address.
const PI: usize = 1;

/// # Safety
///
/// `entry` is a linked entry of this thread's list: ours (settled, held by this thread) or
/// glibc's.
unsafe fn next_of(entry: usize) -> usize {
    // SAFETY: by the contract it is mapped; a peer may have written anything there, and
    // the caller checks the value.
    unsafe { (entry as *const usize).read_volatile() }
}

/// # Safety
///
/// As for [`next_of`].
unsafe fn set_prev(entry: usize, prev: usize) {
    // SAFETY: by the contract.
    unsafe { ((entry - PREV_BEFORE) as *mut usize).write_volatile(prev) }
}

/// glibc's locks stand in front of ours: remember them, and be their new neighbour.
#[cold]
fn note_foreign(head: &Head, thread: &Thread, len: usize, entry: usize) {
    let ours = expected_first(head, thread, len);
    let mut behind = Vec::new();
    let mut at = head.first.get();
    while at & !PI != ours && behind.len() < MOST {
        behind.push(at);
        // SAFETY: linked by glibc in this thread; it trusts the same memory.
        at = unsafe { next_of(at & !PI) };
    }
    if let Some(nearest) = behind.first() {
        // SAFETY: as above. glibc unlinks through `prev`.
        unsafe { set_prev(nearest & !PI, entry) };
    }
    thread.foreign.borrow_mut().push((entry, behind));
    thread.has_foreign.set(true);
}

#[cold]
fn unlink_anywhere(head: &Head, thread: &Thread, entry: usize) {
    let len = thread.len.load(Relaxed);
    let ours = |n: usize| thread.entries[n].load(Relaxed);
    let Some(at) = (0..len).rfind(|n| ours(*n) == entry) else {
        return; // was never linked (the list was full)
    };
    let head_entry = std::ptr::from_ref(head) as usize;
    // The entry behind one of ours: from the shadow, or, where foreign ones stood there,
    // what the link says now, if that is one of those.
    let behind = |n: usize| {
        let next_ours = if n == 0 { head_entry } else { ours(n - 1) };
        let foreign = thread.foreign.borrow();
        match foreign.iter().find(|(e, _)| *e == ours(n)) {
            None => next_ours,
            Some((e, stood)) => {
                // SAFETY: one of ours, held, mapped.
                let link = unsafe { next_of(*e) };
                if stood.contains(&link) { link } else { next_ours }
            }
        }
    };
    let next = behind(at);
    // Who points to us? Walk from the head; ours by the shadow, glibc's by their links.
    let mut before = None;
    let mut cursor = head.first.get();
    for _ in 0..2 * MOST {
        if cursor & !PI == entry || cursor & !PI == head_entry {
            break;
        }
        before = Some(cursor & !PI);
        cursor = match (0..len).rfind(|n| ours(*n) == cursor & !PI) {
            Some(n) => behind(n),
            // SAFETY: an entry of this thread's list that is not ours is glibc's.
            None => unsafe { next_of(cursor & !PI) },
        };
    }
    if cursor & !PI == entry {
        match before {
            None => head.first.set(next),
            // SAFETY: a linked entry (ours or glibc's), as walked.
            Some(b) => unsafe { (b as *mut usize).write_volatile(next) },
        }
        let is_foreign = next & !PI != head_entry && !(0..len).any(|n| ours(n) == next & !PI);
        if is_foreign {
            // SAFETY: as above.
            unsafe { set_prev(next & !PI, before.unwrap_or(head_entry)) };
        }
    }
    for n in at..len - 1 {
        thread.entries[n].store(ours(n + 1), Relaxed);
    }
    thread.len.store(len - 1, Relaxed);
    let mut foreign = thread.foreign.borrow_mut();
    foreign.retain(|(e, _)| *e != entry);
    thread.has_foreign.set(!foreign.is_empty());
}
