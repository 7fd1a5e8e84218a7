//! Names in /dev/shm.

use multiproc_process::test;
use std::path::PathBuf;

/// A name of this test alone, removed when the test is over, whatever came of it.
#[derive(Debug)]
pub struct Name(String);

impl Name {
    /// `stem`, with something that tells it from the names of other tests.
    pub fn new(stem: &str) -> Self {
        Self(test::unique(stem))
    }

    /// The file that has this name.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/shm/multiproc.{}", self.0))
    }

    /// Is there anything of this name?
    pub fn is_there(&self) -> bool {
        self.path().symlink_metadata().is_ok()
    }
}

impl std::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let path = self.path();
        // Most tests have removed it themselves; some put a directory there.
        let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path));
    }
}
