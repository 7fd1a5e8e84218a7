use std::sync::atomic::*;

/// What may live in a segment and be used by several processes at once through `&T`.
///
/// Atomics, the toolkit's primitives, and arrays and `#[repr(C)]` structs of them. Not
/// plain data (put it into a `Mutex<T>`, a `Value<T>` or a message): the compiler may
/// read a bare `u64` behind a shared reference once and keep it. Derive it:
///
/// ```
/// use multiproc_segment::{Shareable, Shared};
/// use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
///
/// #[derive(Shareable)]
/// #[repr(C)]
/// struct Progress {
///     done: AtomicU64,
///     errors: [AtomicU32; 4],
/// }
///
/// let progress = Shared::new(Progress {
///     done: AtomicU64::new(0),
///     errors: [const { AtomicU32::new(0) }; 4],
/// })?;
/// progress.done.fetch_add(1, Relaxed);
/// # Ok::<(), multiproc_segment::CreateError>(())
/// ```
///
/// ```compile_fail
/// let lonely = multiproc_segment::Shared::new(0_u64); // plain data is not Shareable
/// ```
///
/// # Safety
///
/// The type has a fixed layout (`repr(C)` or `repr(transparent)`), holds no address and
/// nothing else that has a meaning in one process only, has no drop glue, accepts every
/// bit pattern a peer may write there without undefined behaviour, and all its use
/// through `&self` is by atomic operations or under locks that work across processes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot live in a shared segment by itself",
    note = "atomics, multiproc's primitives, and #[repr(C)] structs of them that derive Shareable can",
    note = "plain data goes into a Mutex<T>, a Value<T>, an Array<T> or a message"
)]
pub unsafe trait Shareable: Send + Sync + 'static {
    /// Called once, when the value has been written to its place in a segment and before
    /// anybody else can see it. Locks learn here that they will never move.
    ///
    /// # Safety
    ///
    /// `self` lies in a segment, at its final address, and stays there while any process
    /// uses it.
    unsafe fn settle(&self) {}
}

macro_rules! atomics {
    ($($t:ty),*) => {$(
        // SAFETY: fixed layout, no address, any bits are a value (AtomicBool is not here:
        // a peer may write a 2 into it), every use is atomic.
        unsafe impl Shareable for $t {}
    )*};
}
atomics!(
    AtomicU8,
    AtomicI8,
    AtomicU16,
    AtomicI16,
    AtomicU32,
    AtomicI32,
    AtomicU64,
    AtomicI64,
    AtomicUsize,
    AtomicIsize
);

// SAFETY: an array of Shareable values has a fixed layout and no state of its own.
unsafe impl<T: Shareable, const N: usize> Shareable for [T; N] {
    unsafe fn settle(&self) {
        for item in self {
            // SAFETY: the items lie where the array lies.
            unsafe { item.settle() }
        }
    }
}

/// The tag by which a type is known in a segment's header: its name without module paths.
///
/// ```
/// # use multiproc_segment::type_tag;
/// assert_eq!(type_tag::<Vec<std::sync::Arc<u8>>>(), "Vec<Arc<u8>>");
/// ```
pub fn type_tag<T: ?Sized>() -> String {
    let full = std::any::type_name::<T>();
    let mut tag = String::with_capacity(full.len());
    let mut rest = full;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("::") {
            let keep = tag
                .rfind(|c: char| !(c.is_alphanumeric() || c == '_'))
                .map_or(0, |i| i + tag[i..].chars().next().map_or(1, char::len_utf8));
            tag.truncate(keep);
            rest = after;
        } else {
            tag.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    tag
}
