//! Memory shared with programs that use the package `shared_memory`, both ways.

use common::{Outcome, ends_well};
use multiproc_lock::Mutex;
use multiproc_process::{Process, test};
use multiproc_queue::Queue;
use multiproc_segment::{CreateError, HEADER_BYTES, OpenError, Shared, interop, unlink};
use multiproc_value::SharedMemory;
use shared_memory::ShmemConf;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

test::main! {
    the_bytes_of_a_shmem_are_ours_too,
    our_bytes_are_a_shmem,
    a_mutex_lives_in_a_shmem,
    a_shmem_is_made_a_segment_once,
    what_does_not_fit_is_refused,
    a_shmem_that_its_owner_removed_is_not_found,
    raw_and_segment_do_not_mix_in_one_process,
    raw_memory_of_theirs_is_no_message_and_says_so,
}

fn raw_memory_of_theirs_is_no_message_and_says_so() -> Outcome {
    let id = format!("/{}", test::unique("message"));
    let shmem = ShmemConf::new().os_id(id).size(100).create()?;
    let post = Queue::<SharedMemory>::bounded(1)?;
    let refused = post.put(SharedMemory::from_shmem(&shmem)?).unwrap_err();
    assert!(refused.to_string().contains("by its id"), "{refused}");
    assert_eq!(refused.into_message().size(), shmem.len());
    Ok(())
}

fn the_bytes_of_a_shmem_are_ours_too() -> Outcome {
    let shmem = ShmemConf::new()
        .os_id(format!("/{}", test::unique("shmem")))
        .size(1001)
        .create()?;
    let memory = SharedMemory::from_shmem(&shmem)?;
    assert_eq!((memory.size(), memory.name()), (shmem.len(), None));
    // SAFETY: inside the mapping, and nobody else writes there now.
    unsafe { shmem.as_ptr().add(1000).write_volatile(7) };
    assert_eq!(memory.read_vec(1000, 1)?, [7]);
    let id = shmem.get_os_id().to_owned();
    let child = Process::start(|| {
        let theirs = ShmemConf::new().os_id(&id).open().unwrap();
        // SAFETY: as above.
        unsafe { theirs.as_ptr().write_volatile(9) };
        SharedMemory::from_shmem(&theirs)
            .unwrap()
            .write_at(1, b"hello")
            .unwrap();
        // Its copy of the owner would remove the name.
        std::mem::forget(theirs);
    })?;
    ends_well(&child);
    assert_eq!(memory.read_vec(0, 6)?, b"\x09hello");
    drop(shmem);
    assert_eq!(memory.read_vec(1, 5)?, b"hello");
    Ok(())
}

fn our_bytes_are_a_shmem() -> Outcome {
    let name = test::unique("memory");
    let memory = SharedMemory::create(&name, 100)?;
    memory.write_at(99, &[7])?;
    let shmem = memory.to_shmem()?;
    assert_eq!(shmem.len(), HEADER_BYTES + 100);
    // SAFETY: inside the mapping, and nobody else writes there now.
    let last = unsafe { shmem.as_ptr().add(HEADER_BYTES + 99).read_volatile() };
    assert_eq!(last, 7);
    let child = Process::start(|| {
        let theirs = ShmemConf::new()
            .os_id(interop::os_id(&name).unwrap())
            .open()
            .unwrap();
        // SAFETY: as above.
        unsafe { theirs.as_ptr().add(HEADER_BYTES).write_volatile(9) };
    })?;
    ends_well(&child);
    assert_eq!(memory.read_vec(0, 1)?, [9]);
    drop(shmem);
    drop(SharedMemory::open(&name)?); // it does not own the name
    SharedMemory::unlink(&name)?;
    assert!(memory.to_shmem().is_err() && SharedMemory::anonymous(1)?.to_shmem().is_err());
    Ok(())
}

fn a_mutex_lives_in_a_shmem() -> Outcome {
    let shmem = ShmemConf::new()
        .os_id(format!("/{}", test::unique("shmem")))
        .size(4096)
        .create()?;
    let total = Shared::create_in(&shmem, Mutex::new(0_u64))?;
    let id = shmem.get_os_id().to_owned();
    let open = || {
        let theirs = ShmemConf::new().os_id(&id).open().unwrap();
        Shared::<Mutex<u64>>::open_in(&theirs).unwrap()
    };
    let children = Process::start_each(0..3, |_| {
        let total = open();
        for _ in 0..1_000 {
            *total.lock().unwrap() += 1;
        }
    })?;
    children.iter().for_each(ends_well);
    assert_eq!(*total.lock().unwrap(), 3_000);
    let child = Process::start(|| std::mem::forget(open().lock()))?;
    ends_well(&child);
    assert_eq!(*total.lock().unwrap_err().into_guard(), 3_000);
    Ok(())
}

fn a_shmem_is_made_a_segment_once() -> Outcome {
    let shmem = ShmemConf::new()
        .os_id(format!("/{}", test::unique("shmem")))
        .size(512)
        .create()?;
    assert!(matches!(
        Shared::<AtomicU64>::open_in(&shmem),
        Err(OpenError::NotASegment { .. })
    ));
    let number = Shared::create_in(&shmem, AtomicU64::new(5))?;
    let again = Shared::create_in(&shmem, AtomicU64::new(6));
    assert!(matches!(again, Err(CreateError::AlreadyExists(_))));
    let same = Shared::<AtomicU64>::open_in(&shmem)?;
    number.fetch_add(1, SeqCst);
    assert_eq!(same.load(SeqCst), 6);
    assert!(matches!(
        Shared::<Mutex<u64>>::open_in(&shmem),
        Err(OpenError::Type { .. })
    ));
    Ok(())
}

fn what_does_not_fit_is_refused() -> Outcome {
    for size in [1, HEADER_BYTES, HEADER_BYTES + 7] {
        let id = format!("/{}", test::unique("shmem"));
        let shmem = ShmemConf::new().os_id(id).size(size).create()?;
        let number = Shared::create_in(&shmem, AtomicU64::new(5));
        assert!(
            matches!(number, Err(CreateError::TooLarge { bytes: 8 })),
            "{number:?}"
        );
        assert!(Shared::<AtomicU64>::open_in(&shmem).is_err());
    }
    Ok(())
}

fn a_shmem_that_its_owner_removed_is_not_found() -> Outcome {
    let name = test::unique("gone");
    let _memory = SharedMemory::create(&name, 8)?;
    let shmem = interop::shmem(&name)?;
    unlink(&name)?;
    assert!(matches!(
        SharedMemory::from_shmem(&shmem),
        Err(OpenError::NotFound(_))
    ));
    assert!(Shared::create_in(&shmem, AtomicU64::new(5)).is_err());
    Ok(())
}

fn raw_and_segment_do_not_mix_in_one_process() -> Outcome {
    let shmem = ShmemConf::new()
        .os_id(format!("/{}", test::unique("shmem")))
        .size(512)
        .create()?;
    let raw = SharedMemory::from_shmem(&shmem)?;
    assert!(Shared::create_in(&shmem, AtomicU64::new(5)).is_err());
    drop(raw);
    let number = Shared::create_in(&shmem, AtomicU64::new(5))?;
    assert!(matches!(
        SharedMemory::from_shmem(&shmem),
        Err(OpenError::InUseOtherwise(_))
    ));
    assert_eq!(number.load(SeqCst), 5);
    Ok(())
}
