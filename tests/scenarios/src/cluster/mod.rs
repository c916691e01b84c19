//! A cluster under faults: three etcd members and three servers on a network that can be cut, with deployments and
//! load, and the judge of the recorded history.

mod command;
mod faults;
mod judge;
mod members;
mod network;
mod run;
mod schedule;
mod servers;
mod story;
mod work;

pub use command::{Options, scenario};
pub use judge::{Judgement, judge};
pub use members::Change;
pub use network::{Network, remove_own};
pub use run::{RunReport, Settings, run};
pub use schedule::{Fault, Kind, Round, schedule};
