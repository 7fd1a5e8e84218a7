//! What the codecs make of bytes, also of invalid ones.

use common::*;
use multiproc_process::{Process, test};
use multiproc_queue::codec::{Bytes, Plain};
use multiproc_queue::{GetError, Queue};
use serde::{Deserialize, Serialize};

#[derive(
    Debug,
    PartialEq,
    zerocopy::TryFromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
#[repr(u8)]
enum Colour {
    Red = 0,
    Green = 1,
}

#[derive(
    Debug,
    PartialEq,
    zerocopy::TryFromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
#[repr(C)]
struct Lamp {
    lit: bool,
    colour: Colour,
}

pub(crate) fn plain_data_with_invalid_bytes_is_a_decode_error() -> Outcome {
    let name = test::unique("lamps");
    // Somebody who calls something else a lamp.
    let bytes = Queue::<Vec<u8>>::options()
        .type_tag("Lamp")
        .codec::<Bytes>()
        .create(&name)?;
    let child = Process::start(|| {
        let lamps = Queue::<Lamp>::options().type_tag("Lamp").codec::<Plain>();
        let lamps = lamps.open(&name).unwrap();
        for _ in 0..5 {
            match lamps.get() {
                Err(GetError::Decode(why)) => assert!(why.contains("Lamp"), "{why}"),
                other => panic!("{other:?}"),
            }
        }
        let lamp = |lit, colour| Lamp { lit, colour };
        assert_eq!(lamps.get(), Ok(lamp(true, Colour::Green)));
        assert_eq!(lamps.get(), Ok(lamp(false, Colour::Red)));
    })?;
    for wrong in [&[2, 0][..], &[0, 2], &[255, 255], &[1], &[1, 1, 1]] {
        bytes.put_bytes(wrong)?;
    }
    bytes.put_bytes(&[1, 1])?;
    bytes.put_bytes(&[0, 0])?;
    ends_well(&child);
    Queue::<()>::unlink(&name)?;
    Ok(())
}

pub(crate) fn serde_with_invalid_bytes_is_a_decode_error() -> Outcome {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Job {
        Rest,
        Work { hard: bool, what: String },
    }
    let name = test::unique("jobs");
    let bytes = Queue::<Vec<u8>>::options()
        .type_tag("Job")
        .codec::<Bytes>()
        .create(&name)?;
    let child = Process::start(|| {
        let jobs = Queue::<Job>::options().type_tag("Job").open(&name).unwrap();
        for _ in 0..5 {
            assert!(matches!(jobs.get(), Err(GetError::Decode(_))));
        }
        assert_eq!(jobs.get(), Ok(Job::Rest));
        jobs.put(Job::Work {
            hard: true,
            what: "dig".into(),
        })
        .unwrap();
    })?;
    // No such variant; no such bool; a text that is none; one longer than the message; nothing.
    for wrong in [
        &[2][..],
        &[1, 7, 0],
        &[1, 0, 1, 255],
        &[1, 0, 200, 1, b'x'],
        &[],
    ] {
        bytes.put_bytes(wrong)?;
    }
    bytes.put_bytes(&[0])?;
    ends_well(&child);
    assert_eq!(bytes.get()?, b"\x01\x01\x03dig");
    Queue::<()>::unlink(&name)?;
    Ok(())
}

pub(crate) fn bytes_and_plain_data_arrive_as_they_are() -> Outcome {
    let bytes = Queue::<Vec<u8>>::options().codec::<Bytes>().build()?;
    let large = Queue::<[u64; 1000]>::options().codec::<Plain>().build()?;
    let unit = Queue::<()>::unbounded()?;
    let lens = [
        0, 1, 7, 8, 9, 4_095, 4_096, 32_767, 32_768, 100_000, 3_000_000,
    ];
    let child = Process::start(|| {
        for len in lens {
            bytes.put_bytes(&vec![len as u8; len]).unwrap();
        }
        large.put(std::array::from_fn(|n| n as u64)).unwrap();
        unit.put(()).unwrap();
    })?;
    let mut buffer = vec![1; 10];
    for len in lens {
        bytes.get_into_vec(&mut buffer)?;
        assert!(buffer == vec![len as u8; len], "{len}");
    }
    assert_eq!(large.get()?, std::array::from_fn(|n| n as u64));
    unit.get()?;
    ends_well(&child);
    Ok(())
}
