//! `multiproc`: looks at the named objects that processes share.
//!
//! ```text
//! multiproc ls [--json]                every name: what it is, who has it, who holds, who waits
//! multiproc show [--json] NAME         one of them, in full
//! multiproc rm NAME...                 removes names; rm --stale: the left-over temporary ones
//! multiproc top [--interval S]         ls, again and again
//! ```
//!
//! It is no participant: it maps nothing, takes no lock and wakes nobody, so it cannot be in the
//! way of those it looks at, whatever they are doing and however damaged their memory is. Bytes
//! are copied out by `pread`, and every number in them is checked before use. What it shows was
//! true for an instant.
//!
//! | file | holds |
//! |---|---|
//! | `options.rs` | the command line |
//! | `state.rs` | what the bytes of each kind of object say |
//! | `object.rs` | an object with its state, as a row, as lines, as JSON |
//! | `text.rs` | columns, sizes, JSON |
//! | `top.rs` | the screen |
#![forbid(unsafe_code)]

mod object;
mod options;
mod state;
mod text;
mod top;

use object::Object;
use options::{Action, HELP, Options};
use std::io::{self, Write};
use std::process::ExitCode;
use text::Json;

/// Something did not work; the rest did.
const FAILED: u8 = 1;
/// The command line is wrong; nothing was done.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let options = match Options::parse(lexopt::Parser::from_env()) {
        Ok(options) => options,
        Err(error) => {
            complain(&format!("{error} (multiproc --help tells more)"));
            return ExitCode::from(USAGE);
        }
    };
    match run(options) {
        Ok(code) => code,
        // Whoever reads our output has seen enough: no error, as for any filter.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(FAILED)
        }
    }
}

fn complain(what: &str) {
    // Nobody is left to tell if this fails.
    let _ = writeln!(io::stderr(), "multiproc: {}", text::printable(what));
}

fn print(what: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(what.as_bytes())?;
    out.flush()
}

fn run(options: Options) -> io::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    match options.action {
        Action::Help => print(HELP)?,
        Action::Version => print(concat!("multiproc ", env!("CARGO_PKG_VERSION"), "\n"))?,
        Action::List { json: true } => {
            let all = Object::all()?.iter().map(Object::json).collect();
            print(&format!("{}\n", Json::List(all)))?;
        }
        Action::List { json: false } => print(&object::table(&Object::all()?))?,
        Action::Show { name, json } => match Object::named(&name) {
            Ok(object) if json => print(&format!("{}\n", object.json()))?,
            Ok(object) => print(&object.lines())?,
            Err(error) => {
                complain(&error.to_string());
                code = ExitCode::from(FAILED);
            }
        },
        Action::Remove { names } => {
            for name in names {
                if let Err(error) = multiproc_segment::unlink(&name) {
                    complain(&error.to_string());
                    code = ExitCode::from(FAILED);
                }
            }
        }
        Action::RemoveStale => {
            for name in multiproc_segment::remove_stale()? {
                print(&format!("{}\n", text::printable(&name)))?;
            }
        }
        Action::Top { interval, once } => match once {
            true => print(&top::page(&Object::all()?))?,
            false => top::run(interval)?,
        },
    }
    Ok(code)
}
