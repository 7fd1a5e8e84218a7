//! Pipes of bytes.

use multiproc_pipe::codec::Bytes;
use multiproc_pipe::{Connection, Pipe, Receiver, Sender};
use std::time::Duration;

type BytesEnd = Connection<Vec<u8>, Vec<u8>, Bytes>;

pub(crate) fn bytes_pipe() -> (BytesEnd, BytesEnd) {
    let pipe = Pipe::<Vec<u8>>::options().codec::<Bytes>().duplex();
    pipe.unwrap()
}

pub(crate) fn bytes_simplex(bytes: usize) -> (Receiver<Vec<u8>, Bytes>, Sender<Vec<u8>, Bytes>) {
    let pipe = Pipe::<Vec<u8>>::options().bytes(bytes).codec::<Bytes>();
    pipe.simplex().unwrap()
}

pub(crate) const MOMENT: Duration = Duration::from_millis(60);
