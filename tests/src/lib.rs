//! The loops of the tests that kill at named steps (`tests/kill_*`): one that counts the steps of
//! an operation first, and knows their names, and one that goes on until an operation comes
//! through.

mod counted;
mod fatal;
mod through;

pub use counted::{
    At, Count, Steps, Told, each_exact_step, each_step, killed_at_each_step, nothing, steps_of,
};
pub use fatal::{arm_the_doomed, doom_nobody, doom_the_next};
pub use through::{at_each_step, came_through, killed_at, victim};
