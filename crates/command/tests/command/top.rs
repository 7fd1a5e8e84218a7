//! `top`, in a pipe and on a terminal.

use crate::run::{command, said};
use common::{Name, Outcome};
use multiproc_event::Event;
use multiproc_segment::Shared;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

pub(crate) fn top_shows_a_page_once() -> Outcome {
    let name = Name::new("top");
    let _made = Shared::create(&name, Event::new())?;
    let page = said(&["top", "--once"]);
    assert!(
        page.contains(" of memory, ") && page.contains(&*name),
        "{page}"
    );
    assert!(!page.contains('\x1b'));
    Ok(())
}

pub(crate) fn top_goes_on_in_a_pipe_until_told() -> Outcome {
    let mut child = command(&["top", "--interval", "0.05"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut text = String::new();
    let mut out = child.stdout.take().unwrap();
    let mut bytes = [0; 4096];
    while text.matches(" of memory, ").count() < 3 {
        let n = out.read(&mut bytes)?;
        text.push_str(&String::from_utf8_lossy(&bytes[..n]));
        assert!(n > 0, "{text}");
    }
    // SAFETY: a signal to our own child.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    let status = child.wait()?;
    assert!(status.success(), "{status:?}: {:?}", status.signal());
    assert!(!text.contains('\x1b'));
    Ok(())
}

/// Two ends of a terminal of 10 lines.
fn terminal() -> (File, OwnedFd) {
    let (mut ours, mut theirs) = (-1, -1);
    let size = libc::winsize {
        ws_row: 10,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: locals; what it opens is owned once, here.
    unsafe {
        let none = std::ptr::null_mut::<libc::termios>();
        let name = std::ptr::null_mut();
        assert_eq!(libc::openpty(&mut ours, &mut theirs, name, none, &size), 0);
        (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    }
}

fn modes(terminal: &OwnedFd) -> libc::tcflag_t {
    use std::os::fd::AsRawFd;
    // SAFETY: zeroes are a termios, and the call fills in a local.
    unsafe {
        let mut modes: libc::termios = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), &mut modes), 0);
        modes.c_lflag
    }
}

/// Runs `top` on a terminal, ends it by `end`, and gives what it wrote.
fn on_a_terminal(end: impl FnOnce(&mut File, u32)) -> String {
    let (mut ours, theirs) = terminal();
    let before = modes(&theirs);
    let mut child = command(&["top", "--interval", "0.05"])
        .stdin(theirs.try_clone().unwrap())
        .stdout(theirs.try_clone().unwrap())
        .spawn()
        .unwrap();
    let mut text = String::new();
    let mut bytes = [0; 4096];
    while text.matches(" of memory, ").count() < 2 {
        let n = ours.read(&mut bytes).unwrap();
        text.push_str(&String::from_utf8_lossy(&bytes[..n]));
    }
    assert_ne!(modes(&theirs), before, "keys come one by one");
    end(&mut ours, child.id());
    // It writes while it ends, and a terminal holds little.
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(status.success(), "{status:?}");
    assert_eq!(modes(&theirs), before);
    let n = ours.read(&mut bytes).unwrap();
    text.push_str(&String::from_utf8_lossy(&bytes[..n]));
    text
}

pub(crate) fn top_ends_with_q_and_leaves_the_terminal_as_it_was() {
    for key in [b"q", b"\x03"] {
        let text = on_a_terminal(|terminal, _| terminal.write_all(key).unwrap());
        assert!(text.starts_with("\x1b[?1049h"), "{text:?}");
        assert!(text.ends_with("\x1b[?1049l"), "{text:?}");
        let page = text.split("\x1b[H").nth(1).unwrap();
        assert!(page.lines().count() <= 10, "{page:?}");
    }
}

pub(crate) fn top_ends_with_a_signal_and_leaves_the_terminal_as_it_was() {
    let text = on_a_terminal(|_, pid| {
        // SAFETY: a signal to our own child.
        unsafe { libc::kill(pid as i32, libc::SIGTERM) };
    });
    assert!(text.ends_with("\x1b[?1049l"), "{text:?}");
}
