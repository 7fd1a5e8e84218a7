//! What children tell through pipes of the kernel, and by their end.

use crate::PATIENCE;
use multiproc_core::deadline::Deadline;
use multiproc_core::fd::wait_readable;
use std::io::{BufRead, BufReader, PipeReader, Read};
use std::os::fd::AsFd;

/// What arrives until nobody holds the other end.
#[track_caller]
pub fn all_of(mut reader: PipeReader) -> String {
    let watchdog = Deadline::after(PATIENCE);
    let (mut text, mut buffer) = (Vec::new(), [0; 256]);
    loop {
        assert!(
            wait_readable(reader.as_fd(), watchdog).unwrap(),
            "somebody still holds the pipe, after {:?}",
            String::from_utf8_lossy(&text)
        );
        match reader.read(&mut buffer).unwrap() {
            0 => return String::from_utf8(text).unwrap(),
            n => text.extend_from_slice(&buffer[..n]),
        }
    }
}

/// The lines that arrive until nobody holds the other end.
pub fn lines(reader: PipeReader) -> Vec<String> {
    let lines = BufReader::new(reader).lines();
    lines.map_while(Result::ok).collect()
}

/// Waits at a pipe until its last writer has gone.
pub fn wait_for_end(mut reader: PipeReader) {
    let _ = reader.read_to_end(&mut Vec::new());
}
