//! Each case in the documentation of confd's functions, by the real binary.

use gapless_scenarios::render::cases;

#[test]
fn documented_functions_give_documented_output() {
    let cases = cases();
    assert!(cases.len() >= 90, "cases are missing: there are {}", cases.len());
    let failed: Vec<String> = cases.iter().filter_map(|case| case.run().err()).collect();
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), cases.len(), failed.join("\n"));
}
