//! Queues as things to wait for, with others or from an event loop.

use crate::ends::Consumer;
use crate::joinable::JoinableQueue;
use crate::queue::Queue;
use multiproc_core::identity::Identity;
use multiproc_message::ready::Ready;
use std::os::fd::BorrowedFd;

impl<T, C> Ready for Queue<T, C> {
    fn is_ready(&self, _alive: Option<&mut dyn FnMut(Identity) -> bool>) -> bool {
        self.ring.has_next() || self.is_closed_here() || self.ring.is_shut_down()
    }

    fn arm(&self, rang: bool) -> bool {
        self.ring.arm_data(rang)
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

    fn arm(&self, rang: bool) -> bool {
        self.queue().arm(rang)
    }

    fn courier(&self) -> Option<BorrowedFd<'_>> {
        self.queue().courier()
    }
}

impl<T, C> Ready for JoinableQueue<T, C> {
    fn is_ready(&self, _alive: Option<&mut dyn FnMut(Identity) -> bool>) -> bool {
        !self.is_empty() || self.queue().is_ready(None)
    }

    fn arm(&self, rang: bool) -> bool {
        self.queue().arm(rang)
    }

    fn courier(&self) -> Option<BorrowedFd<'_>> {
        self.queue().courier()
    }
}
