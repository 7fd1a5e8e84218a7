//! This thread's robust list, shared with glibc, and our private shadow of it.
//!
//! The kernel walks the list from its head in the thread's control block. glibc puts its
//! robust mutexes in front and takes them out by the links of their neighbours. Ours stand
//! between two posts that never leave, and so have no neighbours but each other:
//!
//! ```text
//! head → [glibc's, newer] → front post → [ours, newest first] → back post → [glibc's, older]
//!  TLS                       private         shared memory        private
//! ```
//!
//! What glibc writes when its neighbour is a post goes to private memory: the front post's
//! `prev`, the back post's `next`. What we write into shared memory (the links of locks that
//! this thread holds) is for the kernel, and never read back: the shadow remembers which of
//! our locks are linked, in order. To the kernel a post is a lock of somebody else's.

use super::RobustLock;
use multiproc_segment::{local::Local, parking};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*, compiler_fence};

/// The kernel stops walking after 2,048 entries; two are the posts.
const MOST: usize = 2046;
/// From the lock word to its list entry, as glibc has it.
const ENTRY_AT: usize = 32;
/// From an entry back to its `prev`.
const PREV_BEFORE: usize = 8;
/// Bit 0 of a link marks a priority-inheriting mutex of glibc's; it is no part of the address.
const PI: usize = 1;

/// The kernel's `struct robust_list_head`.
#[repr(C)]
struct Head {
    first: Cell<usize>,
    futex_offset: Cell<isize>,
    pending: Cell<usize>,
}

/// Looks like a lock to the kernel and to glibc: free, so none of the dead one's.
#[repr(C)]
struct Post {
    word: Cell<usize>,
    unused: [Cell<usize>; 2],
    prev: Cell<usize>,
    next: Cell<usize>,
}

const _: () = assert!(std::mem::offset_of!(Post, next) == ENTRY_AT);
const _: () = assert!(std::mem::offset_of!(Post, prev) == ENTRY_AT - PREV_BEFORE);

impl Post {
    const fn new() -> Self {
        Self {
            word: Cell::new(0),
            unused: [Cell::new(0), Cell::new(0)],
            prev: Cell::new(0),
            next: Cell::new(0),
        }
    }

    fn entry(&self) -> usize {
        self.next.as_ptr().addr()
    }
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
    /// Between these two stand our locks, as long as the thread lives.
    front: Post,
    back: Post,
}

impl Thread {
    /// Puts the posts in front of whatever is linked.
    fn set_up(&self) {
        // SAFETY: null, or in the thread's control block, which lives as long as the thread.
        let Some(head) = (unsafe { self.head.as_ref() }) else {
            return;
        };
        let first = head.first.get();
        self.front.prev.set(std::ptr::from_ref(head).addr());
        self.front.next.set(self.back.entry());
        self.back.prev.set(self.front.entry());
        self.back.next.set(first);
        self.set_prev_of(first, self.back.entry());
        compiler_fence(SeqCst); // the posts lead on before the head leads to them
        head.first.set(self.front.entry());
    }

    /// Takes the posts out. False where glibc's mutexes stand before them: then they stay.
    fn take_down(&self) -> bool {
        // SAFETY: as in `set_up`.
        let Some(head) = (unsafe { self.head.as_ref() }) else {
            return true;
        };
        if head.first.get() != self.front.entry() {
            return false;
        }
        let older = self.back.next.get();
        head.first.set(older);
        self.set_prev_of(older, self.head.addr());
        true
    }

    /// Tells glibc's mutex `entry` (or nobody, if that is the head) who stands before it.
    fn set_prev_of(&self, entry: usize, prev: usize) {
        let entry = entry & !PI;
        if entry != self.head.addr() {
            // SAFETY: the head and the back post are private memory, so `entry` is what glibc
            // wrote there: a mutex that this thread holds. glibc writes the same field.
            unsafe { ((entry - PREV_BEFORE) as *mut usize).write_volatile(prev) }
        }
    }

    /// What the newest of our first `len` locks, or the front post, leads to.
    #[inline]
    fn top(&self, len: usize) -> usize {
        match len {
            0 => self.back.entry(),
            n => self.entries[n - 1].load(Relaxed),
        }
    }
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

    /// Does the kernel tell of this thread's death, as far as this lock goes, and as a rule of
    /// others' too?
    #[inline]
    pub(super) fn is_told(self) -> bool {
        !self.head.is_null()
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
    /// and its mapping has to be there then; a guard may still be dropped by a destructor
    /// that comes later. Such a record stays for good, and stays this thread's.
    fn drop(&mut self) {
        let thread = THREAD.get();
        // SAFETY: null, or the box that `begin` leaked for this thread.
        if let Some(t) = unsafe { thread.as_ref() }
            && t.held.get() == 0
            && t.take_down()
        {
            THREAD.set(std::ptr::null());
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
            // From the end: an entry that is moved down meanwhile is met further down.
            // Acquire. PAIRS shadow-entry.
            let mut entries = thread.entries[..len].iter().rev().map(|e| e.load(Acquire));
            entries.any(|entry| (start..start + bytes).contains(&entry))
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

/// A forked child has one thread, which holds nothing: glibc gave the kernel an empty list,
/// and the locks are the parent's.
pub(crate) fn forget_in_child() {
    let thread = THREAD.get();
    // SAFETY: null, or this thread's own box.
    if let Some(t) = unsafe { thread.as_ref() } {
        t.tid.set(gettid());
        t.held.set(0);
        t.len.store(0, Relaxed);
        // SAFETY: as in `set_up`.
        if let Some(head) = unsafe { t.head.as_ref() } {
            head.first.set(t.head.addr());
        }
        t.set_up();
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
    if offset == -(ENTRY_AT as isize) {
        head
    } else {
        std::ptr::null()
    }
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
        front: Post::new(),
        back: Post::new(),
    }));
    // SAFETY: just made, and never moved.
    unsafe { &*thread }.set_up();
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
    let len = thread.len.load(Relaxed);
    if mine.head.is_null() || len == MOST {
        // Unknown to the kernel, or beyond what it walks: found by its thread id instead.
        lock.unlinked.store(mine.tid(), Relaxed);
        return;
    }
    let entry = entry_of(lock);
    lock.next.store(thread.top(len) as u64, Relaxed);
    compiler_fence(SeqCst); // the entry leads on before the post leads to it
    thread.entries[len].store(entry, Relaxed);
    // Release. PAIRS shadow-len: the Acquire in `holds_lock_in`.
    thread.len.store(len + 1, Release);
    thread.front.next.set(entry);
}

/// Takes a lock that this thread is about to free off its list, if it is there: the shadow
/// knows, whatever a peer has done to the lock's mark since.
#[inline]
pub(super) fn unlink(lock: &RobustLock, mine: Mine) {
    let thread = mine.thread();
    thread.held.set(thread.held.get().saturating_sub(1));
    let entry = entry_of(lock);
    let len = thread.len.load(Relaxed);
    if len > 0 && thread.entries[len - 1].load(Relaxed) == entry {
        thread.front.next.set(thread.top(len - 1));
        thread.len.store(len - 1, Relaxed);
    } else {
        unlink_below(thread, len, entry);
    }
    compiler_fence(SeqCst); // off the list before the word is free
}

#[cold]
fn unlink_below(thread: &Thread, len: usize, entry: usize) {
    let ours = |n: usize| thread.entries[n].load(Relaxed);
    let Some(at) = (0..len).rfind(|n| ours(*n) == entry) else {
        return; // never linked: not settled, the list was full, or the parent's
    };
    // SAFETY: `at` is not the newest (see `unlink`), so the one above is a lock that this
    // thread holds, in a mapping that stays because of that. A peer that writes its link at
    // the same time leads the kernel astray, which checks each word, and not us.
    let above = unsafe { &*(ours(at + 1) as *const AtomicU64) };
    above.store(thread.top(at) as u64, Relaxed);
    for n in at..len - 1 {
        // Release. PAIRS shadow-entry: each is seen further down before it is gone above.
        thread.entries[n].store(ours(n + 1), Release);
    }
    thread.len.store(len - 1, Release); // PAIRS shadow-len
}
