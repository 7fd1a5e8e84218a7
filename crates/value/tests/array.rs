//! Arrays: items, slices, sizes.

use common::{Counter, Outcome, ends_well, kill};
use multiproc_process::{Process, test};
use multiproc_segment::{CreateError, OpenError, unlink};
use multiproc_value::{Array, ItemError, LockError};
use zerocopy::IntoBytes;

test::main! {
    a_child_computes_prefix_sums,
    an_array_made_by_size_is_zeroed_each_time,
    an_index_out_of_range_is_an_error,
    its_guard_is_a_slice,
    it_is_iterated_and_copied,
    four_processes_fill_their_parts,
    no_items_and_absurdly_many_are_errors,
    an_array_by_name,
    a_name_of_another_item_size_is_refused,
    garbage_in_one_item_spoils_that_item,
    an_owners_death_is_told_by_every_operation,
    a_guard_that_unwinds_lets_go,
}

/// V4.
fn a_child_computes_prefix_sums() -> Outcome {
    let numbers = [680, 626, 934, 821, 150, 233, 548, 982, 714, 831];
    let array = Array::from_slice(&numbers)?;
    assert_eq!(array.len(), numbers.len());
    for (index, number) in numbers.iter().enumerate() {
        assert_eq!(array.get(index).unwrap(), *number);
    }
    assert_eq!(array.lock().unwrap()[2..7], numbers[2..7]);
    array.lock().unwrap()[4..8].copy_from_slice(&[1, 2, 3, 4]);
    let mut expected = numbers;
    expected[4..8].copy_from_slice(&[1, 2, 3, 4]);
    assert_eq!(array.to_vec().unwrap(), expected);
    let sum = |items: &mut [i32]| {
        for index in 1..items.len() {
            items[index] += items[index - 1];
        }
    };
    sum(&mut expected);
    let child = Process::start(|| sum(&mut array.lock().unwrap()))?;
    ends_well(&child);
    assert_eq!(array.to_vec().unwrap(), expected);
    Ok(())
}

/// V5.
fn an_array_made_by_size_is_zeroed_each_time() -> Outcome {
    for _ in 0..3 {
        let array = Array::<i64>::zeroed(1_000)?;
        assert!(array.lock().unwrap().iter().all(|item| *item == 0));
        array.lock().unwrap().fill(-1);
        assert_eq!(array.get(999).unwrap(), -1);
    }
    Ok(())
}

/// V10. Negative ones do not compile.
fn an_index_out_of_range_is_an_error() -> Outcome {
    let array = Array::from_slice(&[1, 2, 3])?;
    assert!(matches!(
        array.get(3),
        Err(ItemError::OutOfRange { index: 3, len: 3 })
    ));
    assert!(matches!(
        array.set(usize::MAX, 0),
        Err(ItemError::OutOfRange { .. })
    ));
    let held = array.lock().unwrap();
    assert_eq!(
        (held.get(3), held.get(1..4), held.get(1..3)),
        (None, None, Some(&[2, 3][..]))
    );
    assert!(
        array.get(3).is_err(),
        "without taking the lock, which is held"
    );
    Ok(())
}

fn its_guard_is_a_slice() -> Outcome {
    let array = Array::from_slice(&[3, 1, 2])?;
    array.lock().unwrap().sort_unstable();
    assert_eq!(array.to_vec().unwrap(), [1, 2, 3]);
    assert_eq!(format!("{:?}", array.lock().unwrap()), "[1, 2, 3]");
    assert!(format!("{array:?}").contains("items: [1, 2, 3]"));
    Ok(())
}

fn it_is_iterated_and_copied() -> Outcome {
    let array = Array::from_items((0..5_u16).rev())?;
    let items: Vec<u16> = array.iter().map(|item| item.unwrap()).collect();
    assert_eq!(items, [4, 3, 2, 1, 0]);
    assert_eq!(array.iter().len(), 5);
    assert_eq!(array.lock().unwrap().iter().max(), Some(&4));
    assert_eq!(array.to_vec().unwrap(), items);
    Ok(())
}

fn four_processes_fill_their_parts() -> Outcome {
    let squares = Array::<u64>::zeroed(1_000)?;
    let fillers = Process::start_each(0..4, |k| {
        let part = k * 250..(k + 1) * 250;
        let values: Vec<u64> = part.clone().map(|i| (i * i) as u64).collect();
        squares.lock().unwrap()[part].copy_from_slice(&values);
    })?;
    fillers.iter().for_each(ends_well);
    assert_eq!(squares.lock().unwrap().iter().sum::<u64>(), 332_833_500);
    Ok(())
}

fn no_items_and_absurdly_many_are_errors() -> Outcome {
    assert!(matches!(Array::<u8>::zeroed(0), Err(CreateError::ZeroSize)));
    assert!(matches!(
        Array::<u8>::from_slice(&[]),
        Err(CreateError::ZeroSize)
    ));
    assert!(matches!(
        Array::<u64>::zeroed(usize::MAX),
        Err(CreateError::TooLarge { .. })
    ));
    assert!(matches!(
        Array::<u8>::zeroed(usize::MAX / 2),
        Err(CreateError::TooLarge { .. })
    ));
    let error = Array::<u64>::zeroed(1 << 45).unwrap_err();
    assert!(
        matches!(
            error,
            CreateError::NoSpace { .. } | CreateError::TooLarge { .. }
        ),
        "{error:?}"
    );
    Ok(())
}

fn an_array_by_name() -> Outcome {
    let name = test::unique("array");
    let array = Array::<u32>::create(&name, 4)?;
    assert!(matches!(
        Array::<u32>::create(&name, 4),
        Err(CreateError::AlreadyExists(_))
    ));
    let child = Process::start(|| {
        let array = Array::<u32>::open(&name).unwrap();
        assert_eq!(array.len(), 4);
        array.set(3, 7).unwrap();
        assert_eq!(Array::<u32>::open_or_create(&name, 99).unwrap().len(), 4);
    })?;
    ends_well(&child);
    assert_eq!(array.to_vec().unwrap(), [0, 0, 0, 7]);
    Array::<u32>::unlink(&name)?;
    let new = Array::create_from_slice(&name, &[1_u32, 2])?;
    assert_eq!(new.to_vec().unwrap(), [1, 2]);
    unlink(&name)?;
    Ok(())
}

fn a_name_of_another_item_size_is_refused() -> Outcome {
    let name = test::unique("items");
    let _array = Array::<[u8; 3]>::create(&name, 4)?;
    assert!(matches!(
        Array::<[u8; 4]>::open(&name),
        Err(OpenError::Type { .. })
    ));
    assert!(matches!(
        Array::<u8>::open(&name),
        Err(OpenError::Type { .. })
    ));
    unlink(&name)?;
    Ok(())
}

fn garbage_in_one_item_spoils_that_item() -> Outcome {
    mod other {
        use zerocopy::{FromBytes, Immutable, IntoBytes};
        #[allow(non_camel_case_types)]
        #[derive(FromBytes, IntoBytes, Immutable, Clone, Copy)]
        #[repr(C)]
        pub(crate) struct bool(pub(crate) u8);
    }
    let name = test::unique("garbage");
    let flags = Array::<bool>::create(&name, 3)?;
    let bytes = Array::<other::bool>::open(&name)?;
    unlink(&name)?;
    bytes.set(1, other::bool(7)).unwrap();
    flags.set(0, true).unwrap();
    assert!(flags.get(0).unwrap() && !flags.get(2).unwrap());
    assert!(matches!(flags.get(1), Err(ItemError::Corrupted(_))));
    let Err(LockError::Corrupted(mut held)) = flags.lock() else {
        panic!()
    };
    assert_eq!(*held, [1, 7, 0]);
    held[1..2].copy_from_slice(true.as_bytes());
    drop(held);
    assert_eq!(*flags.lock().unwrap(), [true, true, false]);
    Ok(())
}

fn an_owners_death_is_told_by_every_operation() -> Outcome {
    let array = Array::<u64>::zeroed(100)?;
    let step = Counter::new();
    let holder = Process::start(|| {
        array.lock().unwrap()[..50].fill(1);
        let mut held = array.lock().unwrap();
        held[..10].fill(2);
        step.set(1);
        step.reach(2);
    })?;
    step.reach(1);
    kill(&holder);
    assert!(matches!(array.get(0), Err(ItemError::OwnerDied(_))));
    assert!(matches!(array.set(0, 1), Err(ItemError::OwnerDied(_))));
    assert!(matches!(array.to_vec(), Err(LockError::OwnerDied(_))));
    assert!(array.iter().all(|item| item.is_err()));
    let Err(LockError::OwnerDied(mut held)) = array.lock() else {
        panic!()
    };
    assert_eq!((held[9], held[10], held[50]), (2, 1, 0));
    held.fill(3);
    held.mended();
    drop(held);
    assert_eq!(array.to_vec().unwrap(), [3; 100]);
    Ok(())
}

fn a_guard_that_unwinds_lets_go() -> Outcome {
    let array = Array::<u64>::zeroed(2)?;
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut held = array.lock().unwrap();
        held[0] = 1;
        held[2] = 1;
    }));
    assert!(unwound.is_err());
    assert_eq!(*array.try_lock().unwrap(), [1, 0]);
    Ok(())
}
