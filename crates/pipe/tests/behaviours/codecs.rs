//! What cannot be encoded or decoded, and plain data.

use common::*;
use multiproc_pipe::codec::Plain;
use multiproc_pipe::{Pipe, RecvError, SendError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Refuses to be encoded, panics, or goes through.
#[derive(Debug, PartialEq)]
pub(crate) enum Moody {
    Refuses,
    Panics,
    Goes(u32),
}

impl Serialize for Moody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Moody::Refuses => Err(serde::ser::Error::custom("not today")),
            Moody::Panics => panic!("in the middle of encoding"),
            Moody::Goes(n) => serializer.serialize_u32(*n),
        }
    }
}

impl<'de> Deserialize<'de> for Moody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            13 => Err(serde::de::Error::custom("thirteen")),
            n => Ok(Moody::Goes(n)),
        }
    }
}

pub(crate) fn what_cannot_be_encoded_comes_back_and_later_messages_arrive() -> Outcome {
    let (here, there) = Pipe::<Moody>::duplex()?;
    let child = start(move || {
        let refused = there.send(Moody::Refuses).unwrap_err();
        assert!(matches!(refused, SendError::Encode { .. }));
        assert_eq!(refused.into_message(), Moody::Refuses);
        there.send(Moody::Goes(1)).unwrap();
    });
    assert_eq!(here.recv()?, Moody::Goes(1));
    ends_well(&child);
    Ok(())
}

pub(crate) fn an_encoder_that_panics_harms_its_own_send_only() -> Outcome {
    let (here, there) = Pipe::<Moody>::duplex()?;
    let panicked = catch_unwind(AssertUnwindSafe(|| there.send(Moody::Panics)));
    assert!(panicked.is_err());
    let child = start(|| there.send(Moody::Goes(7)));
    assert_eq!(here.recv()?, Moody::Goes(7));
    ends_well(&child);
    Ok(())
}

pub(crate) fn a_decoder_that_fails_costs_one_message() -> Outcome {
    let (here, there) = Pipe::<Moody>::duplex()?;
    let child = start(move || {
        [12, 13, 14]
            .into_iter()
            .try_for_each(|n| there.send(Moody::Goes(n)))
    });
    assert_eq!(here.recv()?, Moody::Goes(12));
    assert!(matches!(here.recv(), Err(RecvError::Decode(_))));
    assert_eq!(here.recv()?, Moody::Goes(14));
    ends_well(&child);
    Ok(())
}

pub(crate) fn plain_data_arrives_in_both_directions() -> Outcome {
    let pipe = Pipe::<[f64; 100], bool>::options().codec::<Plain>();
    let (here, there) = pipe.duplex()?;
    let child = start(move || {
        let all = there.recv().unwrap();
        there.send(all.iter().sum::<f64>() == 4950.0).unwrap();
    });
    here.send(std::array::from_fn(|n| n as f64))?;
    assert!(here.recv()?);
    ends_well(&child);
    Ok(())
}
