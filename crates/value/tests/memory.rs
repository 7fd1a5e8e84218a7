//! Raw bytes by name.

use common::{Counter, Outcome, ends, ends_well};
use multiproc_process::{Exit, Process, test};
use multiproc_segment::{CreateError, NameError, OpenError, UnlinkError};
use multiproc_value::{OutOfRange, SharedMemory, Value};

test::main! {
    a_memory_with_a_name_can_be_read_and_written,
    all_who_open_a_name_see_the_same_bytes,
    taken_and_missing_names_are_errors,
    a_nul_in_a_name_is_refused,
    a_handle_is_made_again_from_its_name,
    a_child_writes_and_the_parent_reads,
    a_terminated_maker_leaves_its_name_and_no_anonymous_memory,
    readers_never_unlink,
    ranges_outside_are_refused,
    every_size_is_exact_and_its_last_byte_works,
    no_bytes_and_absurdly_many_are_errors,
    other_objects_are_not_opened_as_memory,
    words_that_others_write_are_whole,
    neighbours_in_one_word_do_not_disturb_each_other,
}

/// M1. Also that what is made is zeroed.
fn a_memory_with_a_name_can_be_read_and_written() -> Outcome {
    let name = test::unique("memory");
    let memory = SharedMemory::create(&name, 512)?;
    assert_eq!((memory.name(), memory.size()), (Some(name.as_str()), 512));
    assert_eq!(memory.read_vec(0, 512)?, [0; 512]);
    memory.write_at(0, &[42])?;
    memory.write_at(500, b"hello")?;
    assert_eq!(memory.read_vec(0, 1)?, [42]);
    let mut bytes = [0; 5];
    memory.read_at(500, &mut bytes)?;
    assert_eq!(&bytes, b"hello");
    // SAFETY: the handle lives, and nobody writes there now.
    assert_eq!(unsafe { memory.as_ptr().add(500).read_volatile() }, b'h');
    assert_eq!(
        format!("{memory:?}"),
        format!("SharedMemory {{ name: Some({name:?}), size: 512 }}")
    );
    SharedMemory::unlink(&name)?;
    let unnamed = SharedMemory::new(1)?;
    assert!(unnamed.name().is_some_and(|name| name.starts_with("mem-")));
    SharedMemory::unlink(unnamed.name().unwrap())?;
    assert_eq!(SharedMemory::anonymous(1)?.name(), None);
    Ok(())
}

/// M2. Nobody can give a size when opening.
fn all_who_open_a_name_see_the_same_bytes() -> Outcome {
    let name = test::unique("memory");
    let memory = SharedMemory::create(&name, 100)?;
    let again = SharedMemory::open(&name)?;
    assert_eq!(again.size(), 100);
    memory.write_at(3, b"abc")?;
    assert_eq!(again.read_vec(3, 3)?, b"abc");
    again.write_at(4, b"x")?;
    assert_eq!(memory.clone().read_vec(3, 3)?, b"axc");
    SharedMemory::unlink(&name)?;
    Ok(())
}

/// M4.
fn taken_and_missing_names_are_errors() -> Outcome {
    let name = test::unique("memory");
    let memory = SharedMemory::create(&name, 1)?;
    assert!(matches!(
        SharedMemory::create(&name, 1),
        Err(CreateError::AlreadyExists(_))
    ));
    SharedMemory::unlink(&name)?;
    assert!(matches!(
        SharedMemory::open(&name),
        Err(OpenError::NotFound(_))
    ));
    assert!(matches!(
        SharedMemory::unlink(&name),
        Err(UnlinkError::NotFound(_))
    ));
    memory.write_at(0, &[1])?;
    Ok(())
}

/// M7.
fn a_nul_in_a_name_is_refused() {
    let nul = |error: &NameError| matches!(error, NameError::Nul(_));
    assert!(matches!(SharedMemory::create("a\0b", 1), Err(CreateError::Name(e)) if nul(&e)));
    assert!(matches!(SharedMemory::open("a\0b"), Err(OpenError::Name(e)) if nul(&e)));
    assert!(matches!(SharedMemory::unlink("a\0b"), Err(UnlinkError::Name(e)) if nul(&e)));
}

/// M8.
fn a_handle_is_made_again_from_its_name() -> Outcome {
    let memory = SharedMemory::create(&test::unique("memory"), 16)?;
    memory.write_at(0, b"parent")?;
    let name = memory.name().unwrap().to_owned();
    let child = Process::start(move || {
        let memory = SharedMemory::open(&name).unwrap();
        assert_eq!(memory.read_vec(0, 6).unwrap(), b"parent");
        memory.write_at(0, b"child ").unwrap();
    })?;
    ends_well(&child);
    assert_eq!(memory.read_vec(0, 6)?, b"child ");
    SharedMemory::unlink(memory.name().unwrap())?;
    Ok(())
}

/// M10.
fn a_child_writes_and_the_parent_reads() -> Outcome {
    let name = test::unique("memory");
    let named = SharedMemory::create(&name, 64)?;
    let anonymous = SharedMemory::anonymous(64)?;
    let child = Process::start(|| {
        SharedMemory::open(&name)
            .unwrap()
            .write_at(1, b"by name")
            .unwrap();
        named.write_at(20, b"by handle").unwrap();
        anonymous.write_at(0, b"by handle").unwrap();
    })?;
    ends_well(&child);
    assert_eq!(named.read_vec(1, 7)?, b"by name");
    assert_eq!(named.read_vec(20, 9)?, b"by handle");
    assert_eq!(anonymous.read_vec(0, 9)?, b"by handle");
    SharedMemory::unlink(&name)?;
    Ok(())
}

/// M11, our way: there is no tracker. What has no name goes with its last process, however that
/// ends; a name stays until somebody removes it, and what it names is whole.
fn a_terminated_maker_leaves_its_name_and_no_anonymous_memory() -> Outcome {
    let name = test::unique("memory");
    let step = Counter::new();
    let names = || {
        let all = std::fs::read_dir("/dev/shm").unwrap();
        all.filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .contains(&name)
        })
        .count()
    };
    let maker = Process::start(|| {
        let memory = SharedMemory::create(&name, 8).unwrap();
        let _anonymous = SharedMemory::anonymous(1 << 20).unwrap();
        memory.write_at(0, b"whole").unwrap();
        step.set(1);
        step.reach(2);
    })?;
    step.reach(1);
    maker.terminate()?;
    assert_eq!(ends(&maker), Exit::Signal(15));
    assert_eq!(names(), 1);
    assert_eq!(SharedMemory::open(&name)?.read_vec(0, 5)?, b"whole");
    SharedMemory::unlink(&name)?;
    assert_eq!(names(), 0);
    Ok(())
}

/// M13.
fn readers_never_unlink() -> Outcome {
    let name = test::unique("memory");
    let memory = SharedMemory::create(&name, 8)?;
    for kill in [false, true] {
        let step = Counter::new();
        let reader = Process::start(|| {
            let memory = SharedMemory::open(&name).unwrap();
            let _ = memory.read_vec(0, 8).unwrap();
            step.set(1);
            if kill {
                step.reach(2);
            }
        })?;
        step.reach(1);
        if kill {
            reader.kill()?;
        }
        let _ = ends(&reader);
        drop(SharedMemory::open(&name)?);
    }
    memory.write_at(0, &[1])?;
    drop(memory);
    assert_eq!(SharedMemory::open(&name)?.read_vec(0, 1)?, [1]);
    SharedMemory::unlink(&name)?;
    Ok(())
}

fn ranges_outside_are_refused() -> Outcome {
    let memory = SharedMemory::anonymous(10)?;
    let error = OutOfRange {
        offset: 8,
        len: 3,
        size: 10,
    };
    assert_eq!(memory.write_at(8, b"abc"), Err(error));
    assert_eq!(memory.read_at(8, &mut [0; 3]), Err(error));
    assert_eq!(
        error.to_string(),
        "3 bytes from 8 on do not lie in a memory of 10"
    );
    assert!(memory.read_vec(usize::MAX, 1).is_err() && memory.read_vec(1, usize::MAX).is_err());
    assert_eq!(memory.read_vec(10, 0)?, []);
    assert_eq!(memory.read_vec(0, 10)?, [0; 10]);
    Ok(())
}

/// Also where the last word begins inside the memory and ends behind it, on the last page.
fn every_size_is_exact_and_its_last_byte_works() -> Outcome {
    let page = 4096 - 256;
    for size in (1..20).chain(page - 9..page + 10) {
        let memory = SharedMemory::anonymous(size)?;
        assert_eq!(memory.size(), size);
        memory.write_at(size - 1, &[7])?;
        assert_eq!(memory.read_vec(size - 1, 1)?, [7]);
        memory.write_at(0, &vec![9; size])?;
        assert_eq!(memory.read_vec(0, size)?, vec![9; size]);
    }
    Ok(())
}

fn no_bytes_and_absurdly_many_are_errors() {
    assert!(matches!(
        SharedMemory::anonymous(0),
        Err(CreateError::ZeroSize)
    ));
    assert!(matches!(
        SharedMemory::new(usize::MAX),
        Err(CreateError::TooLarge { .. })
    ));
}

fn other_objects_are_not_opened_as_memory() -> Outcome {
    let name = test::unique("memory");
    let _value = Value::create(&name, 1_u64)?;
    assert!(matches!(
        SharedMemory::open(&name),
        Err(OpenError::Type { .. })
    ));
    SharedMemory::unlink(&name)?;
    let _memory = SharedMemory::create(&name, 64)?;
    assert!(matches!(
        Value::<u64>::open(&name),
        Err(OpenError::Type { .. })
    ));
    SharedMemory::unlink(&name)?;
    Ok(())
}

fn words_that_others_write_are_whole() -> Outcome {
    let memory = SharedMemory::anonymous(64)?;
    let step = Counter::new();
    let writer = Process::start(|| {
        for n in (0..=255_u8).cycle() {
            memory.write_at(8, &[n; 8]).unwrap();
            if step.get() == 1 {
                return;
            }
        }
    })?;
    for _ in 0..200_000 {
        let bytes = memory.read_vec(8, 8)?;
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "{bytes:?}");
    }
    step.set(1);
    ends_well(&writer);
    Ok(())
}

fn neighbours_in_one_word_do_not_disturb_each_other() -> Outcome {
    let memory = SharedMemory::anonymous(8)?;
    let writers = Process::start_each(0..4_usize, |k| {
        for n in 0..50_000_u32 {
            let n = n as u8;
            memory.write_at(2 * k, &[n, n]).unwrap();
            assert_eq!(memory.read_vec(2 * k, 2).unwrap(), [n, n]);
        }
    })?;
    writers.iter().for_each(ends_well);
    Ok(())
}
