//! What `tracing` hears of children: that they were started, and how they ended. Without the
//! feature of that name, nothing of this does anything.

#![cfg_attr(not(feature = "tracing"), allow(unused_variables))]

use crate::record::Child;
use std::sync::Arc;

/// Those that were collected under the house lock, until it is free: nobody else's code runs
/// under it.
#[derive(Default)]
pub(crate) struct Ended(#[cfg(feature = "tracing")] Vec<Arc<Child>>);

impl Ended {
    pub(crate) const NONE: Self = Self(
        #[cfg(feature = "tracing")]
        Vec::new(),
    );

    pub(crate) fn note(&mut self, child: &Arc<Child>) {
        #[cfg(feature = "tracing")]
        self.0.push(Arc::clone(child));
    }

    pub(crate) fn tell(self) {
        #[cfg(feature = "tracing")]
        for child in self.0 {
            let (name, pid) = (child.name.as_str(), child.pid);
            match child.end.get() {
                Some(Ok(exit)) => {
                    multiproc_segment::trace!(
                        debug,
                        name,
                        pid,
                        code = exit.code(),
                        "process ended"
                    );
                }
                _ => multiproc_segment::trace!(debug, name, pid, "process ended, how is not known"),
            }
        }
    }
}

pub(crate) fn started(child: &Child) {
    multiproc_segment::trace!(
        debug,
        name = child.name.as_str(),
        pid = child.pid,
        daemon = child.daemon,
        "process started"
    );
}
