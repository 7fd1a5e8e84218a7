//! `iceoryx2`: publish and subscribe, made into a queue: one publisher, one subscriber, no overflow, and a publisher
//! that waits while the subscriber's buffer is full.
//!
//! Polling is how it is meant to be used; with `SLEEP`, each message is followed by an event that the receiver waits
//! for. [`Loans`] writes and reads eight bytes of a message in place, whatever its size.

use crate::channel::{Again, Channel, Receiver, Sender, depth};
use crate::sys::{self, Res};
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::{event, publish_subscribe};
use std::time::Duration;

/// A wake-up that got lost costs this much rather than the measurement.
const LOST: Duration = Duration::from_millis(50);

/// Where a service is. Each side opens it for itself.
#[derive(Debug)]
pub(crate) struct Service<const SLEEP: bool> {
    config: Config,
    name: ServiceName,
    /// Of a message.
    size: usize,
}

/// A [`Service`] whose messages have `N` bytes, eight of which are written and read.
#[derive(Debug)]
pub(crate) struct Loans<const N: usize>(Service<false>);

/// The sending end, and what must outlive it.
pub(crate) struct Tx {
    publisher: Publisher<ipc::Service, [u8], ()>,
    notifier: Option<Notifier<ipc::Service>>,
    _opened: Opened,
}

/// The receiving end, and what must outlive it.
pub(crate) struct Rx {
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    listener: Option<Listener<ipc::Service>>,
    _opened: Opened,
}

/// The sending end of [`Loans`].
pub(crate) struct LoanTx<const N: usize>(Tx);

/// The receiving end of [`Loans`].
pub(crate) struct LoanRx<const N: usize>(Rx);

struct Opened {
    messages: publish_subscribe::PortFactory<ipc::Service, [u8], ()>,
    events: Option<event::PortFactory<ipc::Service>>,
    _node: Node<ipc::Service>,
}

impl<const SLEEP: bool> Service<SLEEP> {
    fn open(&self) -> Res<Opened> {
        set_log_level(LogLevel::Fatal);
        let node = NodeBuilder::new()
            .config(&self.config)
            .signal_handling_mode(SignalHandlingMode::Disabled)
            .create::<ipc::Service>()?;
        let messages = node
            .service_builder(&self.name)
            .publish_subscribe::<[u8]>()
            .enable_safe_overflow(false)
            .subscriber_max_buffer_size(depth(self.size))
            .history_size(0)
            .max_publishers(1)
            .max_subscribers(1)
            .open_or_create()?;
        let events = match SLEEP {
            true => Some(node.service_builder(&self.name).event().open_or_create()?),
            false => None,
        };
        Ok(Opened {
            messages,
            events,
            _node: node,
        })
    }
}

impl<const SLEEP: bool> Channel for Service<SLEEP> {
    type Sender<'a> = Tx;
    type Receiver<'a> = Rx;

    fn create(size: usize) -> Res<Self> {
        let name = sys::name();
        let folder = sys::shared_memory().join(&name);
        let mut config = Config::default();
        config.global.prefix = name.as_str().try_into()?;
        config
            .global
            .set_root_path(&folder.to_string_lossy().as_ref().try_into()?);
        Ok(Service {
            config,
            name: name.as_str().try_into()?,
            size,
        })
    }

    /// Waits for the receiver: what is published before it is there is lost.
    fn sender(&self) -> Res<Tx> {
        let opened = self.open()?;
        let publisher = opened
            .messages
            .publisher_builder()
            .initial_max_slice_len(self.size)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()?;
        while opened.messages.dynamic_config().number_of_subscribers() == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let notifier = match &opened.events {
            Some(events) => Some(events.notifier_builder().create()?),
            None => None,
        };
        Ok(Tx {
            publisher,
            notifier,
            _opened: opened,
        })
    }

    fn receiver(&self) -> Res<Rx> {
        let opened = self.open()?;
        let listener = match &opened.events {
            Some(events) => Some(events.listener_builder().create()?),
            None => None,
        };
        let subscriber = opened.messages.subscriber_builder().create()?;
        Ok(Rx {
            subscriber,
            listener,
            _opened: opened,
        })
    }
}

impl<const N: usize> Channel for Loans<N> {
    type Sender<'a> = LoanTx<N>;
    type Receiver<'a> = LoanRx<N>;

    fn create(_size: usize) -> Res<Self> {
        Service::create(N).map(Loans)
    }

    fn sender(&self) -> Res<LoanTx<N>> {
        self.0.sender().map(LoanTx)
    }

    fn receiver(&self) -> Res<LoanRx<N>> {
        self.0.receiver().map(LoanRx)
    }
}

impl Rx {
    /// The next message goes to `read`.
    #[inline]
    fn next<T>(&self, mut read: impl FnMut(&[u8]) -> T) -> Res<T> {
        let mut again = Again::default();
        loop {
            if let Some(sample) = self.subscriber.receive()? {
                return Ok(read(sample.payload()));
            }
            match &self.listener {
                Some(listener) => drop(listener.timed_wait(|_| (), LOST)?),
                None => again.pause(),
            }
        }
    }
}

impl Sender for Tx {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Res {
        let sample = self.publisher.loan_slice_uninit(message.len())?;
        sample.write_from_slice(message).send()?;
        if let Some(notifier) = &self.notifier {
            notifier.notify()?;
        }
        Ok(())
    }
}

impl Receiver for Rx {
    #[inline]
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        self.next(|message| {
            into[..message.len()].copy_from_slice(message);
            message.len()
        })
    }
}

impl<const N: usize> Sender for LoanTx<N> {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Res {
        let mut sample = self.0.publisher.loan_slice_uninit(N)?;
        for (to, from) in sample.payload_mut().iter_mut().zip(message) {
            to.write(*from);
        }
        // SAFETY: shared memory has a value in each of its bytes, which any byte is, whether we wrote it or not.
        let sample = unsafe { sample.assume_init() };
        sample.send()?;
        Ok(())
    }
}

impl<const N: usize> Receiver for LoanRx<N> {
    #[inline]
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        let len = self.0.next(|message| {
            into[..8].copy_from_slice(&message[..8]);
            message.len()
        })?;
        match len == N {
            true => Ok(8),
            false => Err(format!("a loan of {len} bytes").into()),
        }
    }
}
