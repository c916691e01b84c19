//! The protocol between gapless's client and its server, and the client.
//!
//! **Architecture Invariant:** an API boundary. It depends on the core's types only, not on stores, runtimes or
//! proxies.

mod client;
mod error;
mod follow;
mod types;

pub use client::{Client, default_socket};
pub use error::{ApiError, ClientError, Code};
pub use follow::Follow;
pub use types::{
    ApplicationView, Check, DeployRequest, FollowEvent, InstanceView, KvChanged, KvPair, KvPairs, LogRecord,
    MaintenanceRequest, OutputLine, PlanRequest, PlanView, PlaneInfo, ProgressView, PromoteRequest, RejectRequest,
    Role, RollbackRequest, ServerInfo, SlotState, SlotView, SteerRequest,
};
