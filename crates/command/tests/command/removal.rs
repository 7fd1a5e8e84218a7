//! Names that are removed.

use crate::run::{complained, holding, said, shows};
use common::{Name, Outcome, kill};
use multiproc_segment::Shared;
use std::sync::atomic::{AtomicU32, Ordering::*};

pub(crate) fn names_are_removed_one_by_one() -> Outcome {
    let (one, two, absent) = (Name::new("one"), Name::new("two"), Name::new("absent"));
    let kept = Shared::create(&one, AtomicU32::new(7))?;
    let _two = Shared::<AtomicU32>::options()
        .temporary(true)
        .create(&two, AtomicU32::new(8))?;
    let errors = complained(1, &["rm", &one, &absent, &two]);
    assert_eq!(errors, format!("multiproc: there is no {:?}\n", &*absent));
    for name in [&one, &two] {
        assert!(Shared::<AtomicU32>::open(name).is_err());
    }
    assert_eq!(kept.load(Relaxed), 7);
    drop(Shared::create(&one, AtomicU32::new(9))?);
    assert_eq!(said(&["rm", &one]), "");
    Ok(())
}

/// In a /dev/shm of its own: other tests leave stale names for a moment.
pub(crate) fn stale_names_are_removed() -> Outcome {
    let none = std::ptr::null::<libc::c_char>();
    let private = libc::MS_REC | libc::MS_PRIVATE;
    let (kind, place) = (c"tmpfs".as_ptr(), c"/dev/shm".as_ptr());
    // SAFETY: C strings that outlive the calls; the namespace is this process's alone.
    let alone = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, c"/".as_ptr(), none, private, none.cast()) == 0
            && libc::mount(kind, place, kind, 0, none.cast()) == 0
    };
    if !alone {
        println!("skipped: no mount namespace of its own");
        return Ok(());
    }
    let temporary = Shared::<AtomicU32>::options().temporary(true);
    let used = temporary.create("used", AtomicU32::new(1))?;
    drop(Shared::create("kept", AtomicU32::new(2))?);
    for name in ["stale", "stale too"] {
        kill(&holding(|| {
            temporary.create(name, AtomicU32::new(3)).unwrap()
        }));
    }
    let listed = said(&["ls"]);
    assert_eq!(listed.matches("stale\n").count(), 2, "{listed}");
    shows(
        "stale",
        &[
            ("lives", "stale: temporary, and nobody has it open"),
            ("attached", "nobody"),
        ],
    );
    assert_eq!(said(&["rm", "--stale"]), "stale\nstale too\n");
    assert_eq!(said(&["rm", "--stale"]), "");
    assert_eq!(Shared::<AtomicU32>::open("kept")?.load(Relaxed), 2);
    assert!(
        Shared::<AtomicU32>::open("used")?
            .segment()
            .same(used.segment())
    );
    Ok(())
}
