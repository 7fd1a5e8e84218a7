//! Queues as things to wait for, with others or from an event loop.

use crate::codec::GetFailure;
use crate::ends::Consumer;
use crate::joinable::JoinableQueue;
use crate::queue::Queue;
use multiproc_core::identity::Identity;
use multiproc_message::ready::{self, Ready};
use multiproc_ring::GetError;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

impl<T, C> Ready for Queue<T, C> {
    fn is_ready(&self, _alive: Option<&mut dyn FnMut(Identity) -> bool>) -> bool {
        self.ring.has_next() || self.is_closed_here() || self.ring.is_shut_down()
    }

    fn arm(&self, quieten: bool) -> bool {
        // Closed here: said before it rang, and rung for nobody else.
        self.ring.arm_data(quieten) && !self.is_closed_here()
    }

    fn token(&self) -> Option<u64> {
        self.ring.courier_number()
    }

    fn courier(&self) -> Option<BorrowedFd<'_>> {
        self.ring.bell()
    }
}

impl<T, C> Ready for Consumer<T, C> {
    fn is_ready(&self, alive: Option<&mut dyn FnMut(Identity) -> bool>) -> bool {
        Queue::is_ready(self.queue(), None) || self.end().is_over(alive)
    }

    fn look_is_due(&self) -> bool {
        self.end().look_is_due()
    }

    fn arm(&self, quieten: bool) -> bool {
        self.end().arm(quieten) && !self.queue().is_closed_here()
    }

    fn token(&self) -> Option<u64> {
        self.queue().token()
    }

    fn courier(&self) -> Option<BorrowedFd<'_>> {
        self.queue().courier()
    }
}

impl<T, C> Ready for JoinableQueue<T, C> {
    fn is_ready(&self, _alive: Option<&mut dyn FnMut(Identity) -> bool>) -> bool {
        !self.is_empty() || self.queue().is_ready(None)
    }

    fn arm(&self, quieten: bool) -> bool {
        self.queue().arm(quieten) && self.is_empty()
    }

    fn token(&self) -> Option<u64> {
        self.queue().token()
    }

    fn courier(&self) -> Option<BorrowedFd<'_>> {
        self.queue().courier()
    }
}

macro_rules! descriptor {
    ($name:ident) => {
        /// For event loops: readable when there may be a message. See
        /// [`ready`](multiproc_message::ready).
        ///
        /// # Panics
        ///
        /// Where nothing can ring (a queue that was opened by name, or made without a courier), if
        /// this process can have no more descriptors.
        impl<T, C> AsFd for $name<T, C> {
            fn as_fd(&self) -> BorrowedFd<'_> {
                ready::watched(self, self.ring_of())
            }
        }

        impl<T, C> AsRawFd for $name<T, C> {
            fn as_raw_fd(&self) -> RawFd {
                self.as_fd().as_raw_fd()
            }
        }

        impl<T, C> $name<T, C> {
            /// What a get gave. Where it found nothing, and an event loop waits, it is armed again.
            #[inline]
            pub(crate) fn looked<R>(&self, got: Result<R, GetFailure>) -> Result<R, GetFailure> {
                if let Err(GetFailure::Ring(GetError::Empty)) = &got {
                    ready::found_nothing(self, self.ring_of());
                }
                got
            }
        }
    };
}
descriptor!(Queue);
descriptor!(Consumer);
descriptor!(JoinableQueue);
