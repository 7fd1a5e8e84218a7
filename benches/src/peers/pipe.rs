//! `pipe(2)`: one write and one read per message, at the kernel's default capacity of 64 KiB.

use crate::channel::{Channel, Receiver, Sender};
use crate::sys::{self, Res};
use std::fs::File;
use std::io::{Read, Write};

/// The two ends.
#[derive(Debug)]
pub(crate) struct Pipe {
    read: File,
    write: File,
}

impl Channel for Pipe {
    type Sender<'a> = &'a File;
    type Receiver<'a> = &'a File;

    fn create(_size: usize) -> Res<Self> {
        let (read, write) = sys::pipe()?;
        Ok(Pipe {
            read: read.into(),
            write: write.into(),
        })
    }

    fn sender(&self) -> Res<&File> {
        Ok(&self.write)
    }

    fn receiver(&self) -> Res<&File> {
        Ok(&self.read)
    }
}

impl Sender for &File {
    fn send(&mut self, message: &[u8]) -> Res {
        Ok(self.write_all(message)?)
    }
}

impl Receiver for &File {
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        self.read_exact(into)?;
        Ok(into.len())
    }
}
