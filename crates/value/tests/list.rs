//! Lists of numbers, texts and bytes.

use common::{Counter, Outcome, ends_well};
use multiproc_process::{Process, test};
use multiproc_segment::{CreateError, OpenError};
use multiproc_value::{
    GetItemError, IndexOfError, Item, SetItemError, ShareableList, SharedMemory,
};

test::main! {
    a_mixed_list_is_read_iterated_counted_and_searched,
    an_item_may_change_its_type_within_its_slot,
    a_text_longer_than_its_slot_is_refused_and_its_neighbours_stay,
    a_copy_is_independent_and_a_second_handle_is_not,
    an_empty_list_has_nothing,
    trailing_nuls_of_bytes_are_kept,
    a_child_changes_it,
    items_are_never_torn,
    names_behave_as_everywhere,
    garbage_is_an_error,
}

fn mixed() -> Vec<Item> {
    vec![
        "howdy".into(),
        b"HoWdY".into(),
        (-273.154).into(),
        100.into(),
        Item::None,
        true.into(),
        42.into(),
    ]
}

/// M16. A negative index does not compile.
fn a_mixed_list_is_read_iterated_counted_and_searched() -> Outcome {
    let list = ShareableList::new(mixed())?;
    assert_eq!((list.len(), list.is_empty()), (7, false));
    assert_eq!(list.get(0)?, Item::Str("howdy".into()));
    assert_eq!(list.get(1)?, Item::Bytes(b"HoWdY".to_vec()));
    assert_eq!(list.get(2)?, Item::Float(-273.154));
    assert_eq!(list.get(6)?, Item::Int(42));
    assert_eq!(
        list.get(7),
        Err(GetItemError::OutOfRange { index: 7, len: 7 })
    );
    assert_eq!(list.iter().collect::<Result<Vec<_>, _>>()?, mixed());
    assert_eq!(list.iter().next_back(), Some(Ok(Item::Int(42))));
    assert_eq!(list.to_vec()?, mixed());
    assert_eq!(
        (list.count(&42.into())?, list.count(&"adios".into())?),
        (1, 0)
    );
    list.set(3, 42)?;
    assert_eq!(
        (list.count(&42.into())?, list.index_of(&42.into())?),
        (2, 3)
    );
    assert_eq!(list.index_of(&Item::None)?, 4);
    assert_eq!(list.index_of(&"adios".into()), Err(IndexOfError::NotInList));
    assert!(format!("{list:?}").contains("howdy"));
    Ok(())
}

/// M17.
fn an_item_may_change_its_type_within_its_slot() -> Outcome {
    let list = ShareableList::new(mixed())?;
    for (index, item) in mixed().into_iter().rev().enumerate() {
        list.set(index, item)?;
    }
    let reversed: Vec<Item> = mixed().into_iter().rev().collect();
    assert_eq!(list.to_vec()?, reversed);
    list.set(4, None::<i64>)?;
    list.set(4, i64::MIN)?;
    assert_eq!(list.get(4)?, Item::Int(i64::MIN));
    assert!(matches!(
        list.set(7, 1),
        Err(SetItemError::OutOfRange {
            item: Item::Int(1),
            ..
        })
    ));
    Ok(())
}

/// M17.
fn a_text_longer_than_its_slot_is_refused_and_its_neighbours_stay() -> Outcome {
    let list = ShareableList::new(["left".into(), "12345678".into(), "right".into()])?;
    assert_eq!(
        (
            list.capacity_at(0),
            list.capacity_at(1),
            list.capacity_at(3)
        ),
        (Some(8), Some(16), None)
    );
    list.set(1, "x".repeat(16))?;
    let long = "ä".repeat(8) + "x"; // 9 characters, 17 bytes
    let error = list.set(1, long.as_str()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "an item of 17 bytes does not fit into the slot at 1, which has 16"
    );
    let SetItemError::TooLong {
        item,
        bytes: 17,
        most: 16,
        index: 1,
    } = error
    else {
        panic!()
    };
    assert_eq!(item, Item::Str(long));
    assert!(list.set(0, [0; 9].as_slice()).is_err());
    assert_eq!(
        list.to_vec()?,
        ["left".into(), "x".repeat(16).into(), "right".into()]
    );
    Ok(())
}

/// M19.
fn a_copy_is_independent_and_a_second_handle_is_not() -> Outcome {
    let (name, copy_name) = (test::unique("list"), test::unique("copy"));
    let list = ShareableList::create(&name, mixed())?;
    let copy = ShareableList::create(&copy_name, list.to_vec()?)?;
    let same = ShareableList::open(&name)?;
    list.set(6, 43)?;
    assert_eq!((copy.get(6)?, same.get(6)?), (42.into(), 43.into()));
    assert_eq!(ShareableList::open(&copy_name)?.to_vec()?, mixed());
    ShareableList::unlink(&name)?;
    ShareableList::unlink(&copy_name)?;
    Ok(())
}

/// M20.
fn an_empty_list_has_nothing() -> Outcome {
    let list = ShareableList::new([])?;
    assert_eq!(
        (list.len(), list.is_empty(), list.count(&4.into())?),
        (0, true, 0)
    );
    assert_eq!(list.index_of(&4.into()), Err(IndexOfError::NotInList));
    assert!(list.get(0).is_err() && list.set(0, 1).is_err());
    assert_eq!(list.iter().len(), 0);
    Ok(())
}

/// M22.
fn trailing_nuls_of_bytes_are_kept() -> Outcome {
    let list = ShareableList::new([b"ab\0\0".into(), b"\0\0".into(), "a\0".into(), b"".into()])?;
    assert_eq!(list.get(0)?, Item::Bytes(b"ab\0\0".to_vec()));
    assert_eq!(list.get(1)?, Item::Bytes(b"\0\0".to_vec()));
    assert_eq!(list.get(2)?, Item::Str("a\0".into()));
    assert_eq!(list.get(3)?, Item::Bytes(vec![]));
    Ok(())
}

fn a_child_changes_it() -> Outcome {
    let name = test::unique("list");
    let list = ShareableList::create(&name, mixed())?;
    let child = Process::start(|| {
        list.set(0, "by h").unwrap();
        ShareableList::open(&name).unwrap().set(5, false).unwrap();
    })?;
    ends_well(&child);
    assert_eq!((list.get(0)?, list.get(5)?), ("by h".into(), false.into()));
    ShareableList::unlink(&name)?;
    Ok(())
}

fn items_are_never_torn() -> Outcome {
    let list = ShareableList::new([vec![0_u8; 100].into()])?;
    let step = Counter::new();
    let writers = Process::start_each(1..3_u8, |k| {
        for n in 0_usize.. {
            list.set(0, vec![k; n % 100]).unwrap();
            if step.get() == 1 {
                return;
            }
        }
    })?;
    for _ in 0..20_000 {
        let Item::Bytes(bytes) = list.get(0)? else {
            panic!()
        };
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "{bytes:?}");
    }
    step.set(1);
    writers.iter().for_each(ends_well);
    Ok(())
}

fn names_behave_as_everywhere() -> Outcome {
    let name = test::unique("list");
    assert!(matches!(
        ShareableList::open(&name),
        Err(OpenError::NotFound(_))
    ));
    let _list = ShareableList::create(&name, [])?;
    assert!(matches!(
        ShareableList::create(&name, []),
        Err(CreateError::AlreadyExists(_))
    ));
    assert!(matches!(
        SharedMemory::open(&name),
        Err(OpenError::Type { .. })
    ));
    ShareableList::unlink(&name)?;
    Ok(())
}

/// Whatever bytes lie there: a list, an item, or an error.
fn garbage_is_an_error() -> Outcome {
    use std::os::unix::fs::FileExt;
    let name = test::unique("garbage");
    let list = ShareableList::create(&name, mixed())?;
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(format!("/dev/shm/multiproc.{name}"))?;
    let size = file.metadata()?.len() as usize;
    let mut good = vec![0; size];
    file.read_exact_at(&mut good, 0)?;
    let mut dice = common::Dice::new(22);
    for _ in 0..3_000 {
        // Behind the lock, which garbage makes wait.
        let at = 256 + 40 + dice.below(size as u64 - 256 - 40);
        let byte = [0, 1, 0x7f, 0x80, 0xff][dice.below(5) as usize];
        file.write_all_at(&[byte], at)?;
        if dice.below(20) == 0 {
            file.write_all_at(&good[256 + 40..], 256 + 40)?;
        }
        let _ = list.to_vec();
        let _ = list.index_of(&42.into());
        let _ = format!("{list:?}");
        if let Ok(other) = ShareableList::open(&name) {
            assert!(other.len() < 100);
            let _ = (other.to_vec(), other.set(0, "x"));
        }
    }
    ShareableList::unlink(&name)?;
    Ok(())
}
