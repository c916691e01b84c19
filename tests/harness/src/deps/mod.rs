//! The programs and devices around gapless that tests need: each starts its own, and removes it at the end.

pub mod disk;
pub mod docker;
mod etcd;
pub mod netns;
mod nginx;
mod nginx_container;
mod registry;
mod systemd;

pub use etcd::Etcd;
pub use nginx::Nginx;
pub use nginx_container::NginxContainer;
pub use registry::Registry;
pub use systemd::SystemdHost;
