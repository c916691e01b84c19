//! Bodies of the API: a parsed request serializes to the same request, and its validation returns errors without a
//! panic.

#![no_main]

use gapless_api::{
    ApiError, ApplicationView, Check, DeployRequest, FollowEvent, KvChanged, KvPair, KvPairs, LogRecord,
    MaintenanceRequest, PlanRequest, PlanView, PromoteRequest, RejectRequest, RollbackRequest, ServerInfo,
    SteerRequest,
};
use gapless_core::Spec;
use gapless_core::plan::Plan;
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

fuzz_target!(|body: &[u8]| {
    if let Some(request) = decoded::<DeployRequest>(body) {
        valid(&request.spec);
        request.then.iter().for_each(valid);
    }
    if let Some(request) = decoded::<PlanRequest>(body) {
        valid(&request.spec);
    }
    if let Some(request) = decoded::<PromoteRequest>(body) {
        valid(&request.spec);
        request.then.iter().for_each(valid);
    }
    decoded::<RejectRequest>(body);
    decoded::<SteerRequest>(body);
    decoded::<RollbackRequest>(body);
    decoded::<MaintenanceRequest>(body);
    decoded::<KvPair>(body);
    // Answers too.
    decoded::<ApplicationView>(body);
    decoded::<FollowEvent>(body);
    decoded::<PlanView>(body);
    decoded::<ServerInfo>(body);
    decoded::<LogRecord>(body);
    decoded::<Check>(body);
    decoded::<KvPairs>(body);
    decoded::<KvChanged>(body);
    decoded::<ApiError>(body);
});

/// Parses the body as a `T`, and checks that the value survives serialization.
fn decoded<T: DeserializeOwned + Serialize + PartialEq + Debug>(body: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(body).ok()?;
    let sent = serde_json::to_vec(&value).expect("a serializable value");
    let read: T = serde_json::from_slice(&sent).expect("a readable value");
    assert_eq!(read, value, "{}", String::from_utf8_lossy(&sent));
    assert_eq!(serde_json::to_vec(&read).expect("a serializable value"), sent);
    Some(value)
}

/// Validates an arbitrary spec: errors are reported, and secrets stay hidden.
fn valid(spec: &Spec) {
    if let Err(errors) = spec.validate() {
        assert!(!errors.is_empty() && errors.iter().all(|error| !error.message.is_empty()));
    } else {
        // The plan of `gapless plan`: the cutover occurs once.
        let plan = Plan::new(None, spec, None, &[]);
        assert_eq!(plan.steps.iter().filter(|step| *step == "the cutover").count(), 1);
    }
    let shown = spec.without_secrets();
    assert_eq!(shown.without_secrets(), shown);
    for (name, service) in &spec.services {
        let mut secrets = service.secrets.iter().filter_map(|secret| shown.services[name].variables.get(secret));
        assert!(secrets.all(|value| value == "…"));
    }
}
