//! `ipc-channel`: Unix sockets, many senders and one receiver; as bytes and as serde values.

use crate::channel::{self, Channel};
use crate::sys::Res;
use ipc_channel::ipc::{self, IpcBytesReceiver, IpcBytesSender, IpcReceiver, IpcSender};

/// A channel of bytes.
#[derive(Debug)]
pub(crate) struct Bytes(IpcBytesSender, IpcBytesReceiver);

/// A channel of `u64`, serialised.
#[derive(Debug)]
pub(crate) struct Typed(IpcSender<u64>, IpcReceiver<u64>);

impl Channel for Bytes {
    type Sender<'a> = &'a IpcBytesSender;
    type Receiver<'a> = &'a IpcBytesReceiver;

    fn create(_size: usize) -> Res<Self> {
        let (sender, receiver) = ipc::bytes_channel()?;
        Ok(Bytes(sender, receiver))
    }

    fn sender(&self) -> Res<&IpcBytesSender> {
        Ok(&self.0)
    }

    fn receiver(&self) -> Res<&IpcBytesReceiver> {
        Ok(&self.1)
    }
}

impl Channel for Typed {
    type Sender<'a> = &'a IpcSender<u64>;
    type Receiver<'a> = &'a IpcReceiver<u64>;

    fn create(_size: usize) -> Res<Self> {
        let (sender, receiver) = ipc::channel()?;
        Ok(Typed(sender, receiver))
    }

    fn sender(&self) -> Res<&IpcSender<u64>> {
        Ok(&self.0)
    }

    fn receiver(&self) -> Res<&IpcReceiver<u64>> {
        Ok(&self.1)
    }
}

impl channel::Sender for &IpcBytesSender {
    fn send(&mut self, message: &[u8]) -> Res {
        (**self)
            .send(message)
            .map_err(|error| error.to_string().into())
    }
}

impl channel::Receiver for &IpcBytesReceiver {
    /// The library hands out a fresh `Vec`; only the first word is copied on.
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        let message = self.recv().map_err(|error| error.to_string())?;
        into[..8].copy_from_slice(&message[..8]);
        Ok(message.len())
    }
}

impl channel::Sender for &IpcSender<u64> {
    fn send(&mut self, message: &[u8]) -> Res {
        let word = u64::from_ne_bytes(message.try_into()?);
        (**self)
            .send(word)
            .map_err(|error| error.to_string().into())
    }
}

impl channel::Receiver for &IpcReceiver<u64> {
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        let word = self.recv().map_err(|error| error.to_string())?;
        into[..8].copy_from_slice(&word.to_ne_bytes());
        Ok(8)
    }
}
