//! The errors of puts and gets, written once for queues and pipes.

/// The errors of puts, for an object called so in sentences.
#[doc(hidden)]
#[macro_export]
macro_rules! put_errors {
    ($object:literal: $(
        $(#[$meta:meta])*
        $name:ident { $($(#[$extra_meta:meta])* $extra:ident($text:literal)),* }
    )*) => {$(
        $(#[$meta])*
        #[derive($crate::private::Error)]
        #[non_exhaustive]
        pub enum $name<T> {
            $($(#[$extra_meta])* #[error($text)] $extra(T),)*
            /// It was closed here, or for everybody, or every other end has closed or died.
            #[error("the {} is closed: this end or all of it, or nobody is left at the other end", $object)]
            Closed(T),
            /// The message could not be encoded, or handles in it cannot travel this
            /// way.
            #[error("the message could not be encoded: {why}")]
            Encode {
                /// The message.
                message: T,
                /// The codec's reason.
                why: String,
            },
            /// The encoded message is larger than can ever be held.
            #[error("a message of {bytes} bytes does not fit: at most {most} do")]
            TooLarge {
                /// The message.
                message: T,
                /// Its bytes.
                bytes: usize,
                /// Bytes that fit.
                most: usize,
            },
            /// The system has no memory to grow.
            #[error("no memory for {bytes} more bytes")]
            NoMemory {
                /// The message.
                message: T,
                /// Bytes that were to be allocated.
                bytes: usize,
            },
            /// Somebody wrote garbage into the shared memory.
            #[error("the {}'s shared memory is corrupted", $object)]
            Corrupted(T),
        }

        impl<T> $name<T> {
            /// The message that was not put.
            pub fn into_message(self) -> T {
                match self {
                    $(Self::$extra(message) |)*
                    Self::Closed(message)
                    | Self::Encode { message, .. }
                    | Self::TooLarge { message, .. }
                    | Self::NoMemory { message, .. }
                    | Self::Corrupted(message) => message,
                }
            }

            /// The error alone; the message is dropped.
            pub fn without_message(self) -> $name<()> {
                match self {
                    $(Self::$extra(_) => $name::$extra(()),)*
                    Self::Closed(_) => $name::Closed(()),
                    Self::Encode { why, .. } => $name::Encode { message: (), why },
                    Self::TooLarge { bytes, most, .. } => {
                        $name::TooLarge { message: (), bytes, most }
                    }
                    Self::NoMemory { bytes, .. } => $name::NoMemory { message: (), bytes },
                    Self::Corrupted(_) => $name::Corrupted(()),
                }
            }

            #[allow(dead_code)]
            pub(crate) fn new(message: T, failure: $crate::codec::PutFailure) -> Self {
                match failure {
                    $crate::codec::PutFailure::Encode(why) => Self::Encode { message, why },
                    $crate::codec::PutFailure::Ring($crate::private::RingPutError::Full) => $crate::put_errors!(@full $name message $($extra)*),
                    $crate::codec::PutFailure::Ring($crate::private::RingPutError::TooLarge { bytes, most }) => {
                        Self::TooLarge { message, bytes, most }
                    }
                    $crate::codec::PutFailure::Ring($crate::private::RingPutError::NoMemory { bytes }) => {
                        Self::NoMemory { message, bytes }
                    }
                    $crate::codec::PutFailure::Ring($crate::private::RingPutError::Carry(why)) => {
                        Self::Encode { message, why: why.to_string() }
                    }
                    $crate::codec::PutFailure::Ring($crate::private::RingPutError::Corrupted) => Self::Corrupted(message),
                    $crate::codec::PutFailure::Ring(_) => Self::Closed(message),
                }
            }
        }

        impl<T> std::fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
    // A put that waits for ever does not end for want of room.
    (@full $name:ident $message:ident) => { $name::Closed($message) };
    (@full $name:ident $message:ident $extra:ident) => { $name::$extra($message) };
}

/// The errors of gets, for an object called so in sentences.
#[doc(hidden)]
#[macro_export]
macro_rules! get_errors {
    ($object:literal: $(
        $(#[$meta:meta])*
        $name:ident { $($(#[$extra_meta:meta])* $extra:ident($text:literal)),* }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, $crate::private::Error)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$extra_meta])* #[error($text)] $extra,)*
            /// Nothing is left, and nothing will come: it was closed here, or for everybody, or
            /// every other end has closed or died.
            #[error("the {} is closed: this end or all of it, or nobody is left at the other end", $object)]
            Closed,
            /// A message came that is none of this type. It is consumed.
            #[error("the message could not be decoded: {0}")]
            Decode(String),
            /// As many tasks are in work as can be kept track of. Nothing was consumed.
            #[error("too many tasks are in work at this moment")]
            TooManyTasks,
            /// The message has descriptors, and this process can have no more. Nothing was
            /// consumed.
            #[error("no descriptors left for those that came with the message")]
            NoDescriptors,
            /// The system has no memory to keep the task. Nothing was consumed.
            #[error("no memory for {bytes} more bytes")]
            NoMemory {
                /// Bytes that were to be allocated.
                bytes: usize,
            },
            /// Somebody wrote garbage into the shared memory.
            #[error("the {}'s shared memory is corrupted", $object)]
            Corrupted,
        }

        impl From<$crate::codec::GetFailure> for $name {
            fn from(failure: $crate::codec::GetFailure) -> Self {
                match failure {
                    $crate::codec::GetFailure::Decode(why) => Self::Decode(why),
                    $crate::codec::GetFailure::Ring($crate::private::RingGetError::Corrupted) => Self::Corrupted,
                    $crate::codec::GetFailure::Ring($crate::private::RingGetError::TooManyTasks) => Self::TooManyTasks,
                    $crate::codec::GetFailure::Ring($crate::private::RingGetError::NoDescriptors) => Self::NoDescriptors,
                    $crate::codec::GetFailure::Ring($crate::private::RingGetError::NoMemory { bytes }) => Self::NoMemory { bytes },
                    $($crate::codec::GetFailure::Ring($crate::private::RingGetError::Empty) => Self::$extra,)*
                    $crate::codec::GetFailure::Ring(_) => Self::Closed,
                }
            }
        }
    )*};
}
