//! What a process knows about itself and its children: one record per process, in process-local
//! state that a forked child can use at once.
//!
//! Every look goes through [`house`], which first compares the pid: in a child that was forked
//! by somebody else's code the record is still the parent's copy, and is emptied before anyone
//! sees it. So the list of children never grows from generation to generation, and nobody
//! collects or signals a sibling as if it were a child.

use crate::current::{AuthKey, Me, Parent};
use crate::record::Child;
use crate::server::Server;
use multiproc_segment::local::Local;
use std::sync::Arc;

/// An exit hook. Those of higher priority go first; of two of the same, the newer one.
pub(crate) struct Hook {
    pub(crate) priority: i32,
    pub(crate) number: u64,
    pub(crate) run: Box<dyn FnOnce() + Send>,
}

/// What children run first.
pub(crate) type ChildHook = Arc<dyn Fn() + Send + Sync>;

pub(crate) struct House {
    /// Whose record this is. 0: nobody has looked yet.
    pid: u32,
    me: Option<Arc<Me>>,
    pub(crate) authkey: Option<AuthKey>,
    /// Children that have not been collected.
    pub(crate) children: Vec<Arc<Child>>,
    /// The fork server of this process.
    pub(crate) server: Option<Arc<Server>>,
    /// How many children this process has started: the next one's number, less one.
    started: u32,
    /// Exit hooks.
    hooks: Vec<Hook>,
    /// How many were ever registered: the next one's number.
    hooks_ever: u64,
    /// Inherited by fork, for the next generation.
    pub(crate) after_fork: Vec<ChildHook>,
    /// Whether the C library calls us at exit. Inherited by fork, as its list is.
    pub(crate) at_exit: bool,
}

static HOUSE: Local<House> = Local::new(House {
    pid: 0,
    me: None,
    authkey: None,
    children: Vec::new(),
    server: None,
    started: 0,
    hooks: Vec::new(),
    hooks_ever: 0,
    after_fork: Vec::new(),
    at_exit: false,
});

/// Runs `f` on this process's record. `f` runs under a lock that fork waits for: never user
/// code in it.
pub(crate) fn house<R>(f: impl FnOnce(&mut House) -> R) -> R {
    HOUSE.with(|house| {
        let pid = crate::sys::pid();
        if house.pid != pid {
            // Another's code forked. It said nothing of a name or a parent, so there is none.
            let me = house.me.take().map(|me| {
                Arc::new(Me {
                    parent: None,
                    ..Me::clone(&me)
                })
            });
            house.settle_in(pid, me.unwrap_or_default());
        }
        f(house)
    })
}

/// Whether the record is this process's own, without making it so.
pub(crate) fn at_home() -> bool {
    HOUSE.with(|house| house.pid == crate::sys::pid())
}

/// The first act of a child of ours.
pub(crate) fn move_in(me: Arc<Me>) {
    HOUSE.with(|house| house.settle_in(crate::sys::pid(), me));
}

impl House {
    fn settle_in(&mut self, pid: u32, me: Arc<Me>) {
        self.pid = pid;
        if let Some(was) = self.me.replace(me)
            && was.parent.is_none()
        {
            // A few bytes of the main process's copy, at most once in a line of descent: to free
            // them would cost each child of its some pages.
            std::mem::forget(was);
        }
        self.started = 0;
        // These drop descriptors only; the handles that the parent's code still holds keep
        // theirs.
        self.children.clear();
        self.server = None;
        // The hooks are the parent's, and so is what they captured: neither run nor dropped
        // here.
        std::mem::forget(std::mem::take(&mut self.hooks));
    }

    pub(crate) fn me(&mut self) -> Arc<Me> {
        Arc::clone(self.me.get_or_insert_default())
    }

    /// This process's key; made at first use, inherited by children.
    pub(crate) fn authkey(&mut self) -> std::io::Result<AuthKey> {
        if let Some(key) = &self.authkey {
            return Ok(key.clone());
        }
        let key = AuthKey::random()?;
        self.authkey = Some(key.clone());
        Ok(key)
    }

    /// Has this process take leave in good order when it ends by `exit`.
    pub(crate) fn leave_by_us(&mut self) {
        if !self.at_exit {
            self.at_exit = crate::sys::at_normal_exit(crate::leave::at_exit_of_process);
        }
    }

    /// Notes an exit hook down: its number.
    pub(crate) fn add_hook(&mut self, priority: i32, run: Box<dyn FnOnce() + Send>) -> u64 {
        self.leave_by_us();
        let number = self.hooks_ever;
        self.hooks_ever += 1;
        self.hooks.push(Hook {
            priority,
            number,
            run,
        });
        number
    }

    /// Takes the exit hook that is next, if its priority is as high as that.
    pub(crate) fn next_hook(&mut self, lowest: i32) -> Option<Hook> {
        let order = |at: &usize| (self.hooks[*at].priority, self.hooks[*at].number);
        let next = (0..self.hooks.len()).max_by_key(order)?;
        (self.hooks[next].priority >= lowest).then(|| self.hooks.swap_remove(next))
    }

    /// Takes the exit hook of this number, if it has not been taken.
    pub(crate) fn take_hook(&mut self, number: u64) -> Option<Hook> {
        let at = self.hooks.iter().position(|hook| hook.number == number)?;
        Some(self.hooks.swap_remove(at))
    }

    /// Names the next child, as Python does: `Process-1`, and its children `Process-1:1`.
    pub(crate) fn next_child(
        &mut self,
        parent: Option<Parent>,
        name: Option<String>,
        daemon: bool,
    ) -> Me {
        self.started = self.started.saturating_add(1);
        let me = self.me();
        let number = match me.number.as_str() {
            "" => self.started.to_string(),
            above => format!("{above}:{}", self.started),
        };
        Me {
            name: name.unwrap_or_else(|| format!("Process-{number}")),
            number,
            daemon,
            parent,
        }
    }

    /// Collects the children that have ended. One system call while none has.
    pub(crate) fn sweep(&mut self) {
        // The kernel tells of our own children only.
        let others = || self.children.iter().any(|child| child.report.is_some());
        if !self.children.is_empty() && (crate::sys::any_ended() || others()) {
            self.sweep_each();
        }
    }

    /// The same, and also strikes those that somebody else has collected.
    pub(crate) fn sweep_each(&mut self) {
        self.children.retain(|child| child.still_runs());
    }

    pub(crate) fn forget_child(&mut self, child: &Child) {
        self.children
            .retain(|other| !std::ptr::eq(Arc::as_ptr(other), child));
    }
}
