//! Processes that are spawned, to die at a step of their start: told so by a file, for they have
//! nothing of their starter's memory.

use multiproc_core::step;
use multiproc_process::test;
use std::path::PathBuf;

/// The first process that is spawned under this, removes the file and dies at the step of the
/// number in it.
const FATAL: &str = "MULTIPROC_TEST_FATAL";

/// What `main` begins with: this may be the process that is to die.
pub fn arm_the_doomed() {
    if let Some(file) = std::env::var_os(FATAL)
        && let Ok(number) = std::fs::read_to_string(&file)
        && std::fs::remove_file(&file).is_ok()
        && let Ok(number) = number.parse()
    {
        step::arm(number);
    }
}

fn file() -> PathBuf {
    std::env::temp_dir().join(test::unique("fatal"))
}

/// Has the next process that is spawned die at its step `n`. The file is gone when it knows.
pub fn doom_the_next(n: u64) -> PathBuf {
    let file = file();
    std::fs::write(&file, n.to_string()).unwrap();
    // SAFETY: one thread.
    unsafe { std::env::set_var(FATAL, &file) };
    file
}

/// From now on nobody is doomed; and was nobody who has not been told?
pub fn doom_nobody() -> bool {
    let untold = std::fs::remove_file(file()).is_ok();
    // SAFETY: one thread.
    unsafe { std::env::remove_var(FATAL) };
    !untold
}
