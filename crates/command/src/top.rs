//! The screen: the table, again and again, until somebody has seen enough.

use crate::object::{self, Object};
use crate::text;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

/// What `top` shows: a line of totals, and the table.
pub(crate) fn page(objects: &[Object]) -> String {
    let memory: u64 = objects.iter().map(|object| object.named.memory).sum();
    let stale = objects.iter().filter(|object| object.named.stale).count();
    format!(
        "{} names, {} of memory, {stale} stale\n\n{}",
        objects.len(),
        text::size(memory),
        object::table(objects)
    )
}

/// A terminal whose keys come one by one, until this is dropped.
struct Keys(Option<Termios>);

impl Keys {
    fn begin() -> io::Result<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(Self(None));
        }
        let before = termios::tcgetattr(&stdin)?;
        let mut keys = before.clone();
        // Ctrl-C comes as a key, too, so that it ends like q.
        keys.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        termios::tcsetattr(&stdin, OptionalActions::Now, &keys)?;
        Ok(Self(Some(before)))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// The terminal's other screen, until this is dropped.
struct Screen(bool);

impl Screen {
    fn begin() -> io::Result<Self> {
        let terminal = io::stdout().is_terminal();
        if terminal {
            // No cursor; long lines are cut, not wrapped.
            crate::print("\x1b[?1049h\x1b[?25l\x1b[?7l")?;
        }
        Ok(Self(terminal))
    }

    /// On a terminal, over what was there, as many lines as fit; else one after the other.
    fn show(&self, page: &str) -> io::Result<()> {
        if !self.0 {
            return crate::print(&format!("{page}\n"));
        }
        let rows = termios::tcgetwinsize(io::stdout()).map_or(24, |size| size.ws_row);
        let mut screen = String::from("\x1b[H");
        for (at, line) in page.lines().take(usize::from(rows.max(1))).enumerate() {
            if at > 0 {
                screen.push_str("\r\n");
            }
            screen.push_str(line);
            screen.push_str("\x1b[K");
        }
        screen.push_str("\x1b[J");
        crate::print(&screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.0 {
            let _ = io::stdout().write_all(b"\x1b[?7h\x1b[?25h\x1b[?1049l");
            let _ = io::stdout().flush();
        }
    }
}

/// Shows the page every `interval`, until q, ctrl-c, or a signal that ends programs.
pub(crate) fn run(interval: Duration) -> io::Result<()> {
    // Before anything is changed that must be changed back.
    let mut ends = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ] {
        ends.add(signal);
    }
    ends.thread_block()?;
    let signals = SignalFd::with_flags(&ends, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let keys = Keys::begin()?;
    let screen = Screen::begin()?;
    loop {
        screen.show(&page(&Object::all()?))?;
        if is_over(interval, &signals, &keys)? {
            return Ok(());
        }
    }
}

/// Waits for the next page. True: there is to be none.
fn is_over(interval: Duration, signals: &SignalFd, keys: &Keys) -> io::Result<bool> {
    let stdin = io::stdin();
    let mut sources = vec![PollFd::new(signals, PollFlags::IN)];
    if keys.0.is_some() {
        sources.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
    }
    let timeout = Timespec::try_from(interval).map_err(io::Error::other)?;
    match poll(&mut sources, Some(&timeout)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(false),
        Ok(_) => {}
        Err(e) => return Err(e.into()),
    }
    if !sources[0].revents().is_empty() {
        return Ok(true);
    }
    let mut typed = [0; 64];
    let n = stdin.lock().read(&mut typed)?;
    // 3: ctrl-c. 4: ctrl-d. Nothing: the terminal is gone.
    Ok(n == 0
        || typed[..n]
            .iter()
            .any(|key| matches!(key, b'q' | b'Q' | 3 | 4)))
}
