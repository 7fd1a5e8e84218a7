//! A bare futex: the limit for sides that sleep.
//!
//! One word counts messages, one says that the receiver sleeps, and the payload lies behind them. It holds one message
//! and does not look whether that was taken: right for ping-pong, where the reply says so, and for nothing else.

use crate::channel::{Channel, Receiver, Sender};
use crate::sys::{self, Mapping, Res};
use std::hint::spin_loop;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};

const ASLEEP: usize = 4;
const PAYLOAD: usize = 256;

/// The shared words; the receiver looks `SPIN` times before it sleeps.
#[derive(Debug)]
pub(crate) struct Futex<const SPIN: u32> {
    map: Mapping,
    size: usize,
}

/// Either end.
#[derive(Debug)]
pub(crate) struct End<'a, const SPIN: u32> {
    futex: &'a Futex<SPIN>,
    count: u32,
}

impl<const SPIN: u32> Futex<SPIN> {
    fn count(&self) -> &AtomicU32 {
        // SAFETY: the start of the mapping is aligned, and accessed as this atomic only.
        unsafe { self.map.start().cast().as_ref() }
    }

    fn asleep(&self) -> &AtomicU32 {
        // SAFETY: inside the mapping, aligned, and accessed as this atomic only.
        unsafe { self.map.start().add(ASLEEP).cast().as_ref() }
    }
}

impl<const SPIN: u32> Channel for Futex<SPIN> {
    type Sender<'a> = End<'a, SPIN>;
    type Receiver<'a> = End<'a, SPIN>;

    fn create(size: usize) -> Res<Self> {
        Ok(Futex {
            map: Mapping::new(PAYLOAD + size)?,
            size,
        })
    }

    fn sender(&self) -> Res<End<'_, SPIN>> {
        Ok(End {
            futex: self,
            count: 0,
        })
    }

    fn receiver(&self) -> Res<End<'_, SPIN>> {
        Ok(End {
            futex: self,
            count: 0,
        })
    }
}

impl<const SPIN: u32> Sender for End<'_, SPIN> {
    fn send(&mut self, message: &[u8]) -> Res {
        assert!(message.len() == self.futex.size);
        // SAFETY: the mapping has `size` bytes there; the receiver reads them only between our store below and its
        // reply, and ping-pong sends again only after that.
        unsafe {
            self.futex
                .map
                .start()
                .add(PAYLOAD)
                .as_ptr()
                .copy_from_nonoverlapping(message.as_ptr(), message.len())
        };
        self.count = self.count.wrapping_add(1);
        // PAIRS futex-payload. Release: whoever sees this count sees the payload.
        self.futex.count().store(self.count, Release);
        // PAIRS futex-asleep: either we see the receiver's flag, or it sees our count.
        fence(SeqCst);
        if self.futex.asleep().load(Relaxed) != 0 {
            sys::futex_wake(self.futex.count());
        }
        Ok(())
    }
}

impl<const SPIN: u32> Receiver for End<'_, SPIN> {
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        let (count, asleep) = (self.futex.count(), self.futex.asleep());
        let mut spins = 0;
        // PAIRS futex-payload.
        while count.load(Acquire) == self.count {
            if spins < SPIN {
                spins += 1;
                spin_loop();
                continue;
            }
            asleep.store(1, Relaxed);
            // PAIRS futex-asleep.
            fence(SeqCst);
            sys::futex_wait(count, self.count);
            asleep.store(0, Relaxed); // a late reader of the old flag costs a spare wake
        }
        self.count = self.count.wrapping_add(1);
        assert!(into.len() == self.futex.size);
        // SAFETY: the mapping has `size` bytes there, and the sender is done with them, see `send`.
        unsafe {
            into.as_mut_ptr()
                .copy_from_nonoverlapping(self.futex.map.start().add(PAYLOAD).as_ptr(), into.len())
        };
        Ok(into.len())
    }
}
