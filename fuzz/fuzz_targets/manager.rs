//! Any bytes as what a client says to a manager's server, which has an object of each kind. The
//! input is a byte that says how the client begins, and messages: each its length, and its bytes.
#![no_main]

mod behind;

use behind::behind;
use libfuzzer_sys::fuzz_target;
use multiproc_manager::{fuzz, managed};
use multiproc_ring::Wait;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Once;

#[derive(Default)]
struct Own(Vec<String>);

impl Own {
    fn add(&mut self, text: String, times: u8) -> Result<usize, u16> {
        if times > 100 {
            return Err(times.into());
        }
        self.0.extend(std::iter::repeat_n(text, times.into()));
        Ok(self.0.len())
    }

    fn fail(&mut self, at: usize) -> String {
        self.0[at].clone()
    }

    fn all(&self) -> Vec<String> {
        self.0.clone()
    }
}

managed! {
    proxy OwnProxy for Own {
        fn add(&mut self, text: String, times: u8) -> Result<usize, u16>;
        fn fail(&mut self, at: usize) -> String;
    }
    iterators {
        fn all(&self) -> String;
    }
}

/// Bytes for messages.
const BYTES: usize = 64 << 10;
/// Some requests wait in vain, for a slice.
const MESSAGES: usize = 24;
/// A request may ask for as much shared memory as there is.
const MEMORY: u64 = 16 << 20;

fn limit_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let limit = libc::rlimit {
            rlim_cur: MEMORY,
            rlim_max: MEMORY,
        };
        // SAFETY: a limit of this process, and a signal that is ignored from now on.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            libc::setrlimit(libc::RLIMIT_FSIZE, &limit);
        }
    });
}

fuzz_target!(|bytes: &[u8]| {
    limit_memory();
    let Some((how, mut rest)) = bytes.split_first() else {
        return;
    };
    fuzz::attend(Own::default, BYTES, |client| {
        if how & 1 == 0 {
            client.hello();
            client.furnish("Own");
        }
        let (ring, _) = behind(client);
        for _ in 0..MESSAGES {
            let Some((len, message)) = rest.split_first() else {
                break;
            };
            let (message, after) = message.split_at(usize::from(*len).min(message.len()));
            rest = after;
            // Every other client sends descriptors, too.
            let sent = match how & 2 {
                0 => ring.put(message, Wait::NOT),
                _ => {
                    let null: OwnedFd = File::open("/dev/null").expect("/dev/null").into();
                    ring.put_carrying(message, &[null], 0, Wait::NOT)
                }
            };
            if sent.is_err() {
                break;
            }
        }
    });
});
