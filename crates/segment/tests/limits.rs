//! Sizes that cannot be, memory and descriptors that are used up: errors, nothing half made, and
//! no SIGBUS.

use common::{Name, Outcome, limit_descriptors, own_small_dev_shm};
use multiproc_process::test;
use multiproc_segment::{
    AllocateError, CreateError, Kind, Naming, OpenError, Segment, Shareable, Shared,
};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::*};

test::main! {
    size_0_is_refused,
    absurd_sizes_are_refused,
    more_than_the_machines_memory_is_refused_before_it_is_taken,
    too_large_an_alignment_is_refused,
    the_largest_alignment_is_kept,
    a_full_dev_shm_is_an_error_and_never_sigbus,
    what_is_sparse_is_allocated_or_refused,
    holes_give_their_memory_back,
    without_descriptors_nothing_is_made,
    a_file_size_limit_is_an_error,
    a_thousand_objects_leave_nothing,
}

fn kind() -> Kind {
    Kind {
        tag: "test".into(),
        fixed: 8,
        align: 8,
    }
}

#[derive(Shareable)]
#[repr(C)]
struct Nothing;

fn size_0_is_refused() {
    let name = Name::new("empty");
    let error = Shared::new(Nothing).err().expect("it was made");
    assert!(matches!(error, CreateError::ZeroSize));
    assert_eq!(error.to_string(), "an object of size 0 cannot be shared");
    let none: [AtomicU64; 0] = [];
    assert!(matches!(
        Shared::create(&name, none),
        Err(CreateError::ZeroSize)
    ));
    assert!(!name.is_there());
}

fn absurd_sizes_are_refused() {
    let name = Name::new("absurd");
    for bytes in [usize::MAX, isize::MAX as usize, isize::MAX as usize / 2 + 1] {
        let error = Segment::anonymous(kind(), bytes, 8, |_| ()).unwrap_err();
        assert!(matches!(error, CreateError::TooLarge { bytes: b } if b == bytes));
        let error = Segment::create(&name, &Naming::new(), kind(), bytes, 8, |_| ()).unwrap_err();
        assert!(matches!(error, CreateError::TooLarge { .. }));
    }
    // A file may be that long; no address space has so much room.
    for bytes in [isize::MAX as usize / 2, 1 << 56, 1 << 48] {
        let error = Segment::anonymous(kind(), bytes, 8, |_| ()).unwrap_err();
        assert!(
            matches!(error, CreateError::NoSpace { bytes: b } if b == bytes),
            "{error}"
        );
        let error = Segment::create(&name, &Naming::new(), kind(), bytes, 8, |_| ()).unwrap_err();
        assert!(matches!(error, CreateError::NoSpace { .. }), "{error}");
    }
    assert!(!name.is_there());
}

/// The kernel would hand out page after page, and then kill somebody.
fn more_than_the_machines_memory_is_refused_before_it_is_taken() -> Outcome {
    let bytes = 1 << 45;
    let error = Segment::anonymous(kind(), bytes, bytes, |_| ()).unwrap_err();
    assert!(
        matches!(error, CreateError::NoSpace { bytes: b } if b == bytes),
        "{error}"
    );
    assert_eq!(error.to_string(), format!("no memory for {bytes} bytes"));
    let sparse = Segment::anonymous(kind(), bytes, 8, |_| ())?;
    let error = sparse.allocate(0, bytes).unwrap_err();
    assert!(
        matches!(error, AllocateError::NoSpace { bytes: b } if b == bytes),
        "{error}"
    );
    assert!(sparse.resident_bytes()? < 1 << 20);
    Ok(())
}

fn too_large_an_alignment_is_refused() {
    #[derive(Shareable)]
    #[repr(C, align(512))]
    struct Wide(AtomicU8);
    let error = Shared::new(Wide(AtomicU8::new(0)))
        .err()
        .expect("it was made");
    assert!(matches!(error, CreateError::Alignment { align: 512 }));
    let sentence = "an alignment of 512 bytes is more than a segment gives (256)";
    assert_eq!(error.to_string(), sentence);
}

fn the_largest_alignment_is_kept() -> Outcome {
    #[derive(Shareable)]
    #[repr(C, align(256))]
    struct Wide(AtomicU8);
    let wide = Shared::new(Wide(AtomicU8::new(9)))?;
    assert_eq!((&raw const *wide).addr() % 256, 0);
    assert_eq!(wide.0.load(Relaxed), 9);
    Ok(())
}

const MIB: usize = 1 << 20;

fn small_dev_shm() -> bool {
    match own_small_dev_shm(MIB) {
        Ok(()) => true,
        Err(error) => {
            println!("skipped: /dev/shm cannot be replaced for one process here: {error}");
            false
        }
    }
}

fn a_full_dev_shm_is_an_error_and_never_sigbus() -> Outcome {
    if !small_dev_shm() {
        return Ok(());
    }
    let name = Name::new("full");
    let error =
        Segment::create(&name, &Naming::new(), kind(), 2 * MIB, 2 * MIB, |_| ()).unwrap_err();
    assert!(
        matches!(error, CreateError::NoSpace { bytes } if bytes == 2 * MIB),
        "{error}"
    );
    assert!(!name.is_there());
    // Nothing half made is left: all of the space is there still.
    const WORDS: usize = MIB / 8 / 4;
    let mut made = Vec::new();
    let refused = loop {
        let one = Name::new(&format!("part-{}", made.len()));
        match Shared::create(&one, [const { AtomicU64::new(0) }; WORDS]) {
            Ok(part) => made.push((one, part)),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, CreateError::NoSpace { .. }), "{refused}");
    assert_eq!(made.len(), 3); // each has a header, too
    for (_, part) in &made {
        // To the last word: everything that was given can be written.
        part.iter().for_each(|word| word.store(1, Relaxed));
    }
    // A name removed, and there is room again.
    let (gone, handle) = made.pop().unwrap();
    drop(handle);
    multiproc_segment::unlink(&gone)?;
    Shared::create(&gone, [const { AtomicU64::new(0) }; WORDS])?;
    Ok(())
}

fn what_is_sparse_is_allocated_or_refused() -> Outcome {
    if !small_dev_shm() {
        return Ok(());
    }
    let name = Name::new("sparse");
    let sparse = Segment::create(&name, &Naming::new(), kind(), 1 << 30, 8, |_| ())?;
    assert!(sparse.resident_bytes()? < MIB as u64 / 2);
    sparse.allocate(MIB, MIB / 2)?;
    // SAFETY: inside the body, and nobody else is there.
    unsafe { sparse.body().add(MIB + MIB / 2 - 1).write(1) };
    let before = sparse.resident_bytes()?;
    let error = sparse.allocate(4 * MIB, MIB).unwrap_err();
    assert!(
        matches!(error, AllocateError::NoSpace { bytes } if bytes == MIB),
        "{error}"
    );
    assert_eq!(sparse.resident_bytes()?, before, "nothing changed");
    for (from, bytes) in [(1 << 30, 1), (0, (1 << 30) + 1), (usize::MAX, 2), (0, 0)] {
        assert!(matches!(
            sparse.allocate(from, bytes),
            Err(AllocateError::OutOfRange)
        ));
        assert!(matches!(
            sparse.punch(from, bytes),
            Err(AllocateError::OutOfRange)
        ));
    }
    Ok(())
}

fn holes_give_their_memory_back() -> Outcome {
    let sparse = Segment::anonymous(kind(), 1 << 30, 8, |_| ())?;
    let before = sparse.resident_bytes()?;
    sparse.allocate(MIB, MIB)?;
    // SAFETY: inside the body, and nobody else is there.
    unsafe { sparse.body().add(MIB + MIB / 2).write(1) };
    assert!(sparse.resident_bytes()? >= before + MIB as u64);
    sparse.punch(MIB, MIB)?;
    assert!(sparse.resident_bytes()? < before + MIB as u64 / 2);
    // SAFETY: as above.
    assert_eq!(unsafe { sparse.body().add(MIB + MIB / 2).read() }, 0);
    Ok(())
}

fn without_descriptors_nothing_is_made() -> Outcome {
    let name = Name::new("made-before");
    let made = Shared::create(&name, AtomicU32::new(5))?;
    limit_descriptors(64)?;
    let mut taken = Vec::new();
    while let Ok(fd) = made.segment().as_fd().try_clone_to_owned() {
        taken.push(fd);
    }
    let other = Name::new("other");
    let error = Shared::new(AtomicU32::new(0)).unwrap_err();
    assert!(matches!(error, CreateError::NoDescriptors), "{error}");
    let sentence = "no file descriptor is left for a segment (see RLIMIT_NOFILE)";
    assert_eq!(error.to_string(), sentence);
    let error = Shared::create(&other, AtomicU32::new(0)).unwrap_err();
    assert!(matches!(error, CreateError::NoDescriptors), "{error}");
    assert!(!other.is_there());
    let error = Shared::<AtomicU32>::open(&name).unwrap_err();
    assert!(matches!(error, OpenError::NoDescriptors), "{error}");
    // A clone needs none.
    assert_eq!(made.clone().load(Relaxed), 5);
    drop(taken);
    assert_eq!(Shared::<AtomicU32>::open(&name)?.load(Relaxed), 5);
    Shared::create(&other, AtomicU32::new(0))?;
    Ok(())
}

/// The kernel would end the process with SIGXFSZ.
fn a_file_size_limit_is_an_error() -> Outcome {
    let limit = libc::rlimit {
        rlim_cur: MIB as u64,
        rlim_max: MIB as u64,
    };
    // SAFETY: a local.
    common::ok(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) })?;
    let error = Segment::anonymous(kind(), 2 * MIB, 8, |_| ()).unwrap_err();
    assert!(
        matches!(error, CreateError::TooLarge { bytes } if bytes == 2 * MIB),
        "{error}"
    );
    let name = Name::new("limited");
    let error = Segment::create(&name, &Naming::new(), kind(), 2 * MIB, 8, |_| ()).unwrap_err();
    assert!(matches!(error, CreateError::TooLarge { .. }), "{error}");
    Segment::anonymous(kind(), MIB / 2, 8, |_| ())?;
    Ok(())
}

fn a_thousand_objects_leave_nothing() -> Outcome {
    let count = |what| std::fs::read_dir(what).unwrap().count();
    let maps = || {
        std::fs::read_to_string("/proc/self/maps")
            .unwrap()
            .lines()
            .count()
    };
    drop(Shared::new(AtomicU32::new(0))?);
    let before = (count("/proc/self/fd"), maps());
    for n in 0..1_000 {
        let one = Shared::new(AtomicU32::new(n))?;
        let two = one.clone();
        drop(one);
        assert_eq!(two.load(Relaxed), n);
    }
    let after = (count("/proc/self/fd"), maps());
    assert_eq!(after.0, before.0);
    // The heap may have grown by a mapping or two.
    assert!(after.1 < before.1 + 10, "{before:?} {after:?}");
    Ok(())
}
