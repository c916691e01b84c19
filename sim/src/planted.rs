//! How many seeds it takes to find bugs that were planted on purpose.

use gapless_core::planted::{ALL, plant};

/// What came of a planted bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The bug's name.
    pub bug: &'static str,
    /// How many seeds had to be run, and what the last of them broke; nothing where all of them broke no rule.
    pub found: Option<(u64, String)>,
}

/// Plants each bug in turn, or the one of that name, and runs seeds until one breaks a rule, at most `seeds_max`. To be
/// run in a process of its own: a bug is planted in all of its threads.
///
/// # Errors
/// If the simulated runtime cannot be built.
pub fn find(name: Option<&str>, seeds_max: u64) -> std::io::Result<Vec<Found>> {
    let mut all = Vec::new();
    for (bug, shown) in ALL.into_iter().filter(|(_, shown)| name.is_none_or(|name| name == *shown)) {
        plant(Some(bug));
        let summary = crate::run_until(0..seeds_max, 1);
        plant(None);
        // Seeds run side by side: the smallest that failed counts.
        let found = summary?.failed.into_iter().next().map(|(seed, violation)| (seed + 1, violation));
        all.push(Found { bug: shown, found });
    }
    Ok(all)
}
