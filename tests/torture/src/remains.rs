//! What the dead leave: a consumer's heap lies in shared memory and can be read after its
//! death. So the books know exactly which messages it had copied out and could not write down.

use multiproc_segment::{Kind, Segment};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Address space of one heap: sparse, so only what is used takes memory.
const ROOM: usize = 128 << 20;
/// The smallest block, and what all begin on. The heap's first one holds the bytes in use.
pub(crate) const BLOCK: usize = 16;

/// The heap of one process at a time.
pub(crate) struct Remains(Segment);

impl Remains {
    pub(crate) fn new() -> Self {
        let kind = Kind {
            tag: "a consumer's heap".into(),
            fixed: BLOCK,
            align: BLOCK,
        };
        let segment = Segment::anonymous(kind, ROOM, 4096, |_| {});
        Remains(segment.expect("shared memory"))
    }

    fn used(&self) -> &AtomicU64 {
        // SAFETY: the first word of the body, aligned, alive with the segment; any bits are an
        // atomic.
        unsafe { &*self.0.body().cast() }
    }

    /// From now on, this process allocates in here. It has one thread, and ends by `_exit` or
    /// worse.
    pub(crate) fn inhabit(&self) {
        // Relaxed here and in `Heap`: one thread.
        let bump = self.0.body().wrapping_add(BLOCK);
        END.store(bump as usize - BLOCK + ROOM, Relaxed);
        NEXT.store(bump, Relaxed);
        USED.store(self.0.body().cast(), Relaxed);
        self.used().store(BLOCK as u64, Relaxed);
        BEGIN.store(bump as usize, Relaxed);
    }

    /// All that the heap's last owner has written. It is dead, or it is the caller.
    pub(crate) fn bytes(&self) -> &[u8] {
        let used = (self.used().load(Relaxed) as usize).min(ROOM);
        // SAFETY: inside the segment; nobody writes there before the next owner begins.
        unsafe { std::slice::from_raw_parts(self.0.body(), used) }
    }

    /// Gives the memory back.
    pub(crate) fn clear(&self) {
        self.used().store(0, Relaxed);
        self.0.punch(0, ROOM).expect("memory is given back");
    }
}

/// Blocks of powers of two in an inhabited heap, with a list of free ones for each; until a
/// process inhabits one, the system's.
struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

/// The first block; 0: not inhabited.
static BEGIN: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);
static NEXT: AtomicPtr<u8> = AtomicPtr::new(null_mut());
/// Where the heap says how much of it is in use.
static USED: AtomicPtr<AtomicU64> = AtomicPtr::new(null_mut());
/// By size: the first free block, which begins with the address of the next. (That writes over
/// the first word of a message only after its owner is through with it.)
static FREE: [AtomicPtr<u8>; 64] = [const { AtomicPtr::new(null_mut()) }; 64];

fn size_of_block(layout: Layout) -> usize {
    layout.size().max(BLOCK).next_power_of_two()
}

fn free_list(block: usize) -> &'static AtomicPtr<u8> {
    &FREE[block.trailing_zeros() as usize]
}

fn in_here(at: *mut u8) -> bool {
    let begin = BEGIN.load(Relaxed);
    begin != 0 && (begin..END.load(Relaxed)).contains(&(at as usize))
}

// SAFETY: blocks of the heap are disjoint, aligned to `BLOCK`, and large enough; the rest is
// the system's allocator, and addresses tell the two apart.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = size_of_block(layout);
        if BEGIN.load(Relaxed) == 0 || layout.align() > BLOCK {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc(layout) };
        }
        let list = free_list(block);
        let free = list.load(Relaxed);
        if !free.is_null() {
            // SAFETY: a free block of ours, whose first word `dealloc` wrote.
            list.store(unsafe { free.cast::<*mut u8>().read() }, Relaxed);
            return free;
        }
        let new = NEXT.load(Relaxed);
        if block > END.load(Relaxed) - new as usize {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc(layout) };
        }
        NEXT.store(new.wrapping_add(block), Relaxed);
        let used = new as usize + block + BLOCK - BEGIN.load(Relaxed);
        // SAFETY: set when the heap was inhabited; the segment outlives this process's use.
        unsafe { &*USED.load(Relaxed) }.store(used as u64, Relaxed);
        new
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if BEGIN.load(Relaxed) == 0 {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: the caller's promise; so many bytes are there.
        unsafe {
            let new = self.alloc(layout);
            if !new.is_null() {
                new.write_bytes(0, layout.size());
            }
            new
        }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if !in_here(at) {
            // SAFETY: the caller's promise; not ours, so the system's.
            return unsafe { System.dealloc(at, layout) };
        }
        let list = free_list(size_of_block(layout));
        // SAFETY: a block of at least 16 bytes that nobody uses any more.
        unsafe { at.cast::<*mut u8>().write(list.load(Relaxed)) };
        list.store(at, Relaxed);
    }
}
