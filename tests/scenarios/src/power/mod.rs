//! Power loss: everything that a real server, its proxy and its processes write is recorded. From the recording the
//! disk is rebuilt as a power loss at any moment can leave it, and each such image is opened and judged.

mod command;
mod content;
mod cut;
mod disk;
mod history;
mod judge;
mod paths;
mod record;
mod restart;
mod trace;

pub use command::{Options, scenario};
pub use cut::{CutReport, Settings, cut};
pub use disk::{Lie, Names};
pub use record::{Counts, Recording, record};
pub use restart::restart;
pub use trace::Syncs;
