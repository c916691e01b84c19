//! The number of seeds that find each deliberately planted bug.

use gapless_core::planted::{ALL, plant};

/// The result for a planted bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The bug's name.
    pub bug: &'static str,
    /// The number of seeds up to the first violation, and that violation; `None` if no seed found one.
    pub found: Option<(u64, String)>,
}

/// Plants each bug in turn, or the one named `name`, and runs at most `seeds_max` seeds until one breaks a rule. Run it
/// in a process of its own: a planted bug affects all threads.
///
/// # Errors
/// If the simulated runtime cannot be built.
pub fn find(name: Option<&str>, seeds_max: u64) -> std::io::Result<Vec<Found>> {
    let mut all = Vec::new();
    for (bug, shown) in ALL.iter().copied().filter(|(_, shown)| name.is_none_or(|name| name == *shown)) {
        plant(Some(bug));
        let summary = crate::run_until(0..seeds_max, 1);
        plant(None);
        // Seeds run in parallel: the smallest failed one counts.
        let found = summary?.failed.into_iter().next().map(|(seed, violation)| (seed + 1, violation));
        all.push(Found { bug: shown, found });
    }
    Ok(all)
}
