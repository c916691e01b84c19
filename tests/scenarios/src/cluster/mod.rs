//! A cluster under faults: three etcd members and three servers on a network that can be cut, deployments and load
//! going on, and the judge of what was recorded.

mod faults;
mod judge;
mod members;
pub(crate) mod network;
mod run;
mod schedule;
mod servers;
mod work;

pub use judge::{Judgement, judge};
pub use members::Change;
pub use network::{Network, remove_own};
pub use run::{Report, Settings, run};
pub use schedule::{Fault, Kind, Round, schedule};
