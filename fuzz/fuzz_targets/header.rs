//! Any bytes as a segment's header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use multiproc_segment::{HEADER_BYTES, Header};

fuzz_target!(|bytes: &[u8]| {
    let mut header = [0; HEADER_BYTES];
    // The short ones start from a sound header, so that the checks behind the magic are met.
    let sound = Header {
        kind: multiproc_segment::Kind {
            tag: "fuzz".into(),
            fixed: 64,
            align: 8,
        },
        body: 4096,
        pid_namespace: 1,
    };
    header.copy_from_slice(&sound.encode());
    for change in bytes.chunks_exact(2).take(HEADER_BYTES) {
        header[usize::from(change[0])] = change[1];
    }
    check(&header);
    if let Some(raw) = bytes.first_chunk() {
        check(raw);
    }
});

fn check(bytes: &[u8; HEADER_BYTES]) {
    match Header::decode(bytes) {
        Ok((header, _)) => {
            assert!(header.kind.align.is_power_of_two());
            assert!(header.kind.fixed <= header.body);
            let again = Header::decode(&header.encode());
            assert_eq!(again.map(|(again, _)| again.body), Ok(header.body));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
