//! Walks over what has items in places.

use crate::array::Array;
use crate::list::ShareableList;
use crate::raw::RawArray;
use std::fmt;
use std::ops::Range;

mod sealed {
    pub trait Ours {}
}

impl<T> sealed::Ours for Array<T> {}
impl<T> sealed::Ours for RawArray<T> {}
impl sealed::Ours for ShareableList {}

/// What has items in places, of a number that never changes.
pub trait Indexed: sealed::Ours {
    /// What is found in a place: a copy, or why there is none.
    type Found<'a>
    where
        Self: 'a;

    /// What is found at `index`, which is below the length.
    #[doc(hidden)]
    fn at(&self, index: usize) -> Self::Found<'_>;
}

/// The items one by one, each copied when its turn comes: what others write meanwhile is seen. Of
/// an [`Array`], a [`RawArray`] or a [`ShareableList`].
///
/// ```
/// use multiproc_value::{Array, RawArray, ShareableList};
///
/// let list = ShareableList::new([1.into(), "two".into()])?;
/// for item in &list {
///     println!("{:?}", item?);
/// }
/// let raw = RawArray::from_slice(&[1, 2, 3])?;
/// assert!(raw.iter().rev().eq([3, 2, 1]));
/// let array = Array::from_slice(&[1, 2, 3])?;
/// assert_eq!((&array).into_iter().nth(1).unwrap().unwrap(), 2);
/// assert_eq!(array.iter().skip(1).len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Iter<'a, C> {
    of: &'a C,
    left: Range<usize>,
}

impl<'a, C> Iter<'a, C> {
    pub(crate) fn new(of: &'a C, len: usize) -> Self {
        let left = 0..len;
        Self { of, left }
    }
}

impl<'a, C: Indexed> Iterator for Iter<'a, C> {
    type Item = C::Found<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left.next().map(|index| self.of.at(index))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }

    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        self.left.nth(n).map(|index| self.of.at(index))
    }
}

impl<C: Indexed> DoubleEndedIterator for Iter<'_, C> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.left.next_back().map(|index| self.of.at(index))
    }
}

impl<C: Indexed> ExactSizeIterator for Iter<'_, C> {}

impl<C: Indexed> std::iter::FusedIterator for Iter<'_, C> {}

impl<C> Clone for Iter<'_, C> {
    fn clone(&self) -> Self {
        let (of, left) = (self.of, self.left.clone());
        Self { of, left }
    }
}

impl<C> fmt::Debug for Iter<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
