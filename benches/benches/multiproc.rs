//! `cargo bench`: see the README beside this package.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Cargo names `<target>/tmp` to a bench while it compiles it; the report goes beside it.
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let target = scratch.parent().unwrap_or(scratch);
    multiproc_benches::main(&target.join("bench"))
}
