//! The recipe that the project grew from, on etcd, nginx and systemd.

#[test]
fn the_recipe_deployed_ten_times_agrees_everywhere_and_loses_no_request() {
    let walked = gapless_e2e::recipe::walk(10);
    println!("{walked:?}");
    assert_eq!((walked.deploys, walked.failed), (10, 0), "{walked:?}");
    assert!(walked.disagreements.is_empty(), "{walked:#?}");
    assert!(walked.requests > 1000, "{walked:?}");
}
