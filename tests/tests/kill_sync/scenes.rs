//! The loop over the steps.

/// Runs `scene(n)` for 0, 1, … until its victims come through, twice in a row: where one has to
/// wait, it passes one step more or less each time.
pub(crate) fn at_each_step(least: u64, scene: impl Fn(u64) -> bool) {
    let (mut deaths, mut through) = (0, 0);
    for n in 0.. {
        println!("killed at step {n}");
        if scene(n) {
            through += 1;
            if through == 2 {
                break;
            }
        } else {
            through = 0;
            deaths += 1;
        }
    }
    println!("{deaths} deaths");
    assert!(
        deaths >= least,
        "{deaths} steps, not {least}: are they armed?"
    );
}
