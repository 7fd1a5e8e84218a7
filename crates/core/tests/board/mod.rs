//! A lock and what it protects, and what the kernel and the C library know of it.
#![allow(dead_code, unreachable_pub)]

use multiproc_core::robust::RobustLock;
use multiproc_segment::Shareable;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

/// A lock and what it protects: two counters that differ only while somebody holds it.
#[derive(Shareable)]
#[repr(C)]
pub struct Board {
    pub lock: RobustLock,
    pub a: AtomicU64,
    pub b: AtomicU64,
    pub word: AtomicU32,
    pub torn: AtomicU32,
}

impl Board {
    pub const fn new() -> Self {
        Self {
            lock: RobustLock::new(),
            a: AtomicU64::new(0),
            b: AtomicU64::new(0),
            word: AtomicU32::new(0),
            torn: AtomicU32::new(0),
        }
    }
}

/// Waits until `word` holds `value`: the other side is about to write it.
pub fn until(word: &AtomicU32, value: u32) {
    while word.load(Acquire) != value {
        std::thread::yield_now();
    }
}

/// The kernel's view of what this thread holds: the entries of its robust list, from the
/// head on, and what is pending. Without the two posts between which ours stand, which lie
/// in private memory.
pub fn kernel_list() -> (Vec<usize>, usize) {
    thread_local! {
        static POSTS: std::cell::RefCell<Vec<usize>> = const { std::cell::RefCell::new(vec![]) };
        static LOCKS: std::cell::RefCell<Vec<usize>> = const { std::cell::RefCell::new(vec![]) };
    }
    let (mut head, mut bytes) = (std::ptr::null::<usize>(), 0_usize);
    // SAFETY: two local out-parameters; 0 means this thread.
    let r = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut bytes) };
    assert_eq!((r, bytes), (0, 24));
    let mut entries = Vec::new();
    // SAFETY: the list of this thread, which nobody changes now.
    let (mut at, pending) = unsafe { (*head & !1, *head.add(2)) };
    while at != head.addr() && entries.len() < 5_000 {
        let known = |list: &std::cell::RefCell<Vec<usize>>| list.borrow().contains(&at);
        if !POSTS.with(known) && !LOCKS.with(known) {
            let list = if is_shared(at) { &LOCKS } else { &POSTS };
            list.with(|list| list.borrow_mut().push(at));
        }
        if LOCKS.with(known) {
            entries.push(at);
        }
        // SAFETY: as above.
        at = unsafe { *(at as *const usize) } & !1;
    }
    assert!(
        POSTS.with(|posts| posts.borrow().len()) <= 4,
        "private memory in the list"
    );
    (entries, pending)
}

fn is_shared(address: usize) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().any(|line| {
        let (from, rest) = line.split_once('-').unwrap();
        let (to, rest) = rest.split_once(' ').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        (number(from)..number(to)).contains(&address) && rest.as_bytes()[3] == b's'
    })
}

/// From a lock to its entry in the list.
pub fn entry_of(lock: *const RobustLock) -> usize {
    lock.addr() + 32
}

/// A process-shared robust mutex of the C library, in shared memory of its own.
pub struct Pthread(pub *mut libc::pthread_mutex_t);

impl Pthread {
    pub fn new() -> Self {
        // SAFETY: a fresh shared page, initialised before use; it stays mapped.
        unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            let prot = libc::PROT_READ | libc::PROT_WRITE;
            let page = libc::mmap(std::ptr::null_mut(), 4096, prot, flags, -1, 0);
            assert_ne!(page, libc::MAP_FAILED);
            let this = Self(page.cast());
            this.init();
            this
        }
    }

    fn init(&self) {
        // SAFETY: the attribute is initialised before use; nobody holds the mutex.
        unsafe {
            let mut attr = std::mem::zeroed();
            libc::pthread_mutexattr_init(&mut attr);
            libc::pthread_mutexattr_setpshared(&mut attr, libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_mutexattr_setrobust(&mut attr, libc::PTHREAD_MUTEX_ROBUST);
            assert_eq!(libc::pthread_mutex_init(self.0, &attr), 0);
        }
    }

    pub fn lock(&self) -> libc::c_int {
        // SAFETY: initialised by `new`.
        unsafe { libc::pthread_mutex_lock(self.0) }
    }

    pub fn try_lock(&self) -> libc::c_int {
        // SAFETY: as above.
        unsafe { libc::pthread_mutex_trylock(self.0) }
    }

    pub fn unlock(&self) {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(self.0) }, 0);
    }

    pub fn mend(&self) {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::pthread_mutex_consistent(self.0) }, 0);
    }

    pub fn entry(&self) -> usize {
        self.0.addr() + 32
    }
}
