//! Registered ends of a ring: what the other side hears of them, and how they travel.
//!
//! A [`Writer`] (a [`Reader`]) holds one slot in the ring's table of writers (readers); see
//! [`multiproc_core::ends`] for the states of a slot. When none on one side is held by a living
//! process any more, puts (gets, once nothing is left) on the other are closed: at once where an
//! end was dropped or its process ended in order, within a slice (50 ms) where it was killed.

use multiproc_core::ends::{End, Ends, Holders, RegisterError, Ticket};
use multiproc_core::fd;
use multiproc_core::identity::Identity;
use multiproc_core::wait::LookAround;
use multiproc_parcel as parcel;
use multiproc_ring::{GetError, PutError, Ring};
use serde::{Deserialize, Serialize, de, ser};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

/// A number for the slot of this address, the same in every process.
fn number(ring: &Ring, address: usize) -> u64 {
    address.wrapping_sub(ring.segment().body() as usize) as u64
}

/// Is the end whose slot has this address still in a message? What carries it holds the byte of
/// the segment's file that has the slot's number: wherever that is, the kernel knows.
fn in_message(ring: &Ring, address: usize) -> bool {
    fd::is_held(ring.segment().as_fd(), number(ring, address)).unwrap_or(true)
}

/// Are the ends of the other side gone? `thorough` looks at processes, too.
#[inline]
fn gone(ring: &Ring, ends: &Ends, thorough: bool) -> bool {
    if thorough {
        gone_by(ring, ends, &mut Identity::is_alive)
    } else {
        ends.all_closed()
    }
}

fn gone_by(ring: &Ring, ends: &Ends, alive: &mut dyn FnMut(Identity) -> bool) -> bool {
    ends.holders_by(alive, &|address| in_message(ring, address)) == Holders::AllGone
}

macro_rules! end {
    ($(#[$meta:meta])* $name:ident, $mine:ident, $others:ident) => {
        $(#[$meta])*
        pub struct $name {
            ring: Ring,
            end: End,
            looked: LookAround,
        }

        impl $name {
            fn with(ring: Ring, end: End) -> Self {
                Self {
                    ring,
                    end,
                    looked: LookAround::new(),
                }
            }

            /// The first end of a new object. Where the table is full, its first use tries
            /// again and can tell.
            pub fn first(ring: Ring) -> Self {
                let end = End::later();
                let _ = end.check(ring.$mine());
                Self::with(ring, end)
            }

            /// One more.
            ///
            /// # Errors
            ///
            /// [`RegisterError::Full`].
            pub fn register(ring: Ring) -> Result<Self, RegisterError> {
                let end = ring.$mine().register()?;
                Ok(Self::with(ring, end))
            }

            /// The ring.
            #[inline]
            pub fn ring(&self) -> &Ring {
                &self.ring
            }

            /// Are all ends of the other side gone? `thorough`: looks at processes, too.
            #[inline]
            pub fn others_gone(&self, thorough: bool) -> bool {
                gone(&self.ring, self.ring.$others(), thorough)
            }

            /// The same, with a memory of who is alive.
            pub fn others_gone_by(&self, alive: &mut dyn FnMut(Identity) -> bool) -> bool {
                gone_by(&self.ring, self.ring.$others(), alive)
            }

            /// Is a look at the other side's processes due? Once a slice it is.
            #[inline]
            pub fn look_is_due(&self) -> bool {
                self.looked.is_due()
            }

            /// The look found nobody: look again next time, too.
            #[cold]
            pub fn look_again(&self) {
                self.looked.again();
            }

            /// May this process use it?
            #[inline]
            pub fn is_open(&self) -> bool {
                self.end.check(self.ring.$mine()).is_ok()
            }

            /// Gives the end up, or hands it to a child in hand-over mode; once.
            pub fn close(&self) {
                if self.end.close(self.ring.$mine()) {
                    self.ring.ring_all();
                    self.abandon();
                }
            }

            /// Descriptors in messages of a pipe that nobody will take go at once: an end of
            /// another pipe among them is closed by that, although processes that were forked
            /// meanwhile have this pipe's courier, too.
            fn abandon(&self) {
                let ring = &self.ring;
                if ring.place() != (0, 0) {
                    ring.drop_descriptors_if(|| gone(ring, ring.readers(), true));
                }
            }
        }

        impl Clone for $name {
            fn clone(&self) -> Self {
                Self::with(self.ring.clone(), self.end.another(self.ring.$mine()))
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                self.close();
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("open", &self.is_open())
                    .field("ring", &self.ring)
                    .finish()
            }
        }

        impl $name {
            /// A slot of its own for the message that this thread encodes; given up if that is
            /// not sent.
            ///
            /// # Errors
            ///
            /// As a sentence: the end is closed, the table full, or there is no message.
            pub fn enclose(&self) -> Result<SlotParts, String> {
                let ends = self.ring.$mine();
                let travels = self.end.travel(ends).or_else(|full| {
                    ends.sweep(&|address| in_message(&self.ring, address));
                    self.end.travel(ends).map_err(|_| full)
                });
                let mut ticket = travels.map_err(|e| e.to_string())?;
                let set_off = set_off(&self.ring, ends, &mut ticket).and_then(|token| {
                    let ring = self.ring.clone();
                    let undo = move || {
                        End::stay(ring.$mine(), ticket);
                        ring.ring_all();
                    };
                    parcel::on_return(undo).map_err(|e| e.to_string())?;
                    Ok(token)
                });
                match set_off {
                    Ok(token) => {
                        let Ticket {
                            index,
                            generation,
                            owner,
                        } = ticket;
                        Ok(SlotParts(index, generation, owner, token))
                    }
                    Err(why) => {
                        End::stay(ends, ticket);
                        Err(why)
                    }
                }
            }

            /// The end whose slot came in a message, of this ring.
            ///
            /// # Errors
            ///
            /// [`RegisterError::Closed`]: the sender died first.
            pub fn arrive(ring: Ring, slot: SlotParts) -> Result<Self, RegisterError> {
                let SlotParts(index, generation, owner, token) = slot;
                // Kept until the end is ours.
                let token = token.map(parcel::take).transpose();
                let _token = token.map_err(|_| RegisterError::Closed)?;
                let ticket = Ticket {
                    index,
                    generation,
                    owner,
                };
                let end = End::arrive(ring.$mine(), ticket)?;
                Ok(Self::with(ring, end))
            }
        }
    };
}

/// Gives the end to the message: its token, if there can be one (not in the file of another
/// user, say; then the end is the sender's until it arrives).
fn set_off(ring: &Ring, ends: &Ends, ticket: &mut Ticket) -> Result<Option<u32>, String> {
    let at = number(ring, ends.address(ticket));
    let token = match fd::hold(ring.segment().as_fd(), at) {
        Ok(token) => token,
        Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
            return Err(format!("there is no descriptor left for it: {e}"));
        }
        Err(_) => return Ok(None),
    };
    let token = parcel::enclose_token(token).map_err(|e| e.to_string())?;
    End::set_off(ends, ticket);
    Ok(Some(token))
}

end! {
    /// A registered writer.
    Writer, writers, readers
}
end! {
    /// A registered reader.
    Reader, readers, writers
}

impl Writer {
    /// May it put? Not when it is closed, or every registered reader is.
    ///
    /// # Errors
    ///
    /// [`PutError::Closed`].
    #[inline]
    pub fn check(&self) -> Result<(), PutError> {
        if !self.is_open() {
            return Err(PutError::Closed);
        }
        if self.others_gone(self.look_is_due()) {
            self.look_again();
            return Err(PutError::Closed);
        }
        Ok(())
    }
}

impl Reader {
    /// Would a get that finds nothing say that nothing will come? `alive`: looks at the
    /// processes of the other side, too.
    pub fn is_over(&self, alive: Option<&mut dyn FnMut(Identity) -> bool>) -> bool {
        !self.is_open()
            || match alive {
                Some(alive) => self.others_gone_by(alive),
                None => self.others_gone(false),
            }
    }

    /// Arms the ring's courier for what comes next, see [`Ring::arm_data`]. True: nothing is
    /// there, and somebody may still send.
    pub fn arm(&self, quieten: bool) -> bool {
        if !self.ring.arm_data(quieten) {
            return false;
        }
        // After it was armed: who closes from now on rings.
        let over = self.is_over(None);
        if over && quieten {
            // What was taken away may have been the bell of that, for others.
            self.ring.ring_watchers();
        }
        !over
    }

    /// May it get?
    ///
    /// # Errors
    ///
    /// [`GetError::Closed`].
    #[inline]
    pub fn check(&self) -> Result<(), GetError> {
        match self.is_open() {
            true => Ok(()),
            false => Err(GetError::Closed),
        }
    }
}

/// What a message says of an end: its ticket, and the index of what it holds while it travels.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct SlotParts(u32, u64, u64, Option<u32>);

/// What a message says of a ring: indices of descriptors, which of its segment's rings it is, and
/// what its messages are called.
#[derive(Debug, Serialize, Deserialize)]
pub struct RingParts {
    segment: u32,
    courier: Option<u32>,
    place: (u8, u8),
    tag: String,
}

impl RingParts {
    /// Encloses the descriptors of this ring in the message that this thread encodes.
    ///
    /// # Errors
    ///
    /// As a sentence: there is no message, or no descriptor left.
    pub fn enclose(ring: &Ring) -> Result<Self, String> {
        let enclose = |fd: BorrowedFd<'_>| parcel::enclose(fd).map_err(|e| e.to_string());
        Ok(Self {
            segment: enclose(ring.segment().as_fd())?,
            courier: ring.courier().map(enclose).transpose()?,
            place: ring.place(),
            tag: ring.segment().kind().tag.clone(),
        })
    }

    /// What the sender calls its messages. That it is true, [`RingParts::ring`] finds out.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Which ring of how many: 0 of 0 for a queue.
    pub fn place(&self) -> (u8, u8) {
        self.place
    }

    /// The ring.
    ///
    /// # Errors
    ///
    /// As a sentence: no descriptor came, or it is something else.
    pub fn ring(self) -> Result<Ring, String> {
        let take = |index| parcel::take(index).map_err(|e| e.to_string());
        let segment = take(self.segment)?;
        let courier = self.courier.map(take).transpose()?;
        Ring::attach(segment, courier, &self.tag, self.place).map_err(|e| e.to_string())
    }
}

/// A serializer's error, from a sentence.
pub fn no_ser<E: ser::Error>(why: impl fmt::Display) -> E {
    parcel::refuse(why, |why| E::custom(why))
}

/// A deserializer's error, from a sentence.
pub fn no_de<E: de::Error>(why: impl fmt::Display) -> E {
    parcel::refuse(why, |why| E::custom(why))
}
