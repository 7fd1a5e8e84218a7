//! Memory and events shared with the packages `shared_memory` and `raw_sync`, both ways.
//! Mirrors nothing in Python: it is for programs that use these two packages already.
//! Theirs in ours, ours in theirs; each time another process takes the other side.

mod common;

use multiproc::event::interop::RawSyncEvent;
use multiproc::segment::{HEADER_BYTES, OpenError, interop};
use multiproc::{self as mp, Mutex, Process, Shared, SharedMemory};
use raw_sync::Timeout;
use raw_sync::events::{Event as Theirs, EventInit, EventState};
use shared_memory::{Shmem, ShmemConf, ShmemError};

fn main() -> mp::Result {
    common::Options::read(&[]);
    our_bytes_in_their_hands()?;
    their_memory_with_our_mutex()?;
    our_event_behind_their_trait()?;
    their_event_in_our_memory()
}

fn theirs<T>(result: Result<T, ShmemError>) -> mp::Result<T> {
    result.map_err(|error| std::io::Error::other(error).into())
}

/// A `Shmem` of 4 KiB that somebody else made.
fn a_shmem() -> mp::Result<Shmem> {
    theirs(ShmemConf::new().size(4096).create())
}

/// We make the memory; a process that knows `shared_memory` only opens it by its id.
fn our_bytes_in_their_hands() -> mp::Result {
    let memory = SharedMemory::new(100)?;
    let name = memory.name().unwrap_or_default().to_owned();
    let child = Process::start(|| -> mp::Result {
        let id = interop::os_id(&name).map_err(OpenError::from)?;
        let shmem = theirs(ShmemConf::new().os_id(id).open())?;
        // Our bytes begin behind our header.
        let bytes = shmem.as_ptr().wrapping_add(HEADER_BYTES);
        for (at, byte) in b"written by shared_memory".iter().enumerate() {
            // SAFETY: inside their mapping; we wait for them before we read.
            unsafe { bytes.add(at).write_volatile(*byte) };
        }
        Ok(())
    })?;
    let done = mp::join_all([child]);
    SharedMemory::unlink(&name)?;
    done?;
    let bytes = memory.read_vec(0, 24).unwrap_or_default();
    println!("our memory: {}", String::from_utf8_lossy(&bytes));
    Ok(())
}

/// They make the memory; we put a mutex into it that survives its holder.
fn their_memory_with_our_mutex() -> mp::Result {
    let shmem = a_shmem()?;
    let total = Shared::create_in(&shmem, Mutex::new(0_u32))?;
    let id = shmem.get_os_id().to_owned();
    let children = Process::start_each(0..3, |_| -> mp::Result {
        let shmem = theirs(ShmemConf::new().os_id(&id).open())?;
        let total = Shared::<Mutex<u32>>::open_in(&shmem)?;
        for _ in 0..1_000 {
            *total.lock()? += 1;
        }
        Ok(())
    })?;
    mp::join_all(children)?;
    println!("our mutex in their memory: {}", *total.lock()?);
    Ok(())
}

/// A program that knows an event by `raw_sync`'s traits only.
fn wait_and_clear<E: EventInit>(memory: *mut u8) -> mp::Result {
    // SAFETY: an event of that type lies there, and stays as long as this process lives.
    let (event, _) = unsafe { E::from_existing(memory) }.map_err(foreign)?;
    event.wait(Timeout::Infinite).map_err(foreign)?;
    println!("{}: set", std::any::type_name::<E>());
    Ok(event.set(EventState::Clear).map_err(foreign)?)
}

fn foreign(error: Box<dyn std::error::Error>) -> std::io::Error {
    std::io::Error::other(error.to_string())
}

/// Our event in their memory: one process uses it through their trait, the other as ours.
fn our_event_behind_their_trait() -> mp::Result {
    let shmem = a_shmem()?;
    let go = Shared::create_in(&shmem, RawSyncEvent::manual_reset())?;
    let waiter = Process::start(|| wait_and_clear::<RawSyncEvent>(go.as_ptr()))?;
    go.set();
    mp::join_all([waiter])?;
    println!("our event is set: {}", go.event().is_set());
    Ok(())
}

/// Their event in our memory, through the same function.
fn their_event_in_our_memory() -> mp::Result {
    let memory = SharedMemory::anonymous(4096)?;
    // SAFETY: room enough, aligned to a cache line, and nobody uses it yet.
    let (go, _) = unsafe { Theirs::new(memory.as_ptr(), false) }.map_err(foreign)?;
    let waiter = Process::start(|| wait_and_clear::<Theirs>(memory.as_ptr()))?;
    go.set(EventState::Signaled).map_err(foreign)?;
    mp::join_all([waiter])
}
