//! The platform in one process, and the command line around it.
//!
//! `platform` wires the gateway and the services on embedded stores; `layout` is the data directory; `cli` the words of the command
//! line; `settings` the file beside them; `certificates` makes those of services that run apart; `up` runs the platform for a person; `example` fills it; `dev` plays a source provider. Refuses behaviour of its own: what
//! the platform does is the services' affair.

pub mod certificates;
pub mod cli;
pub mod dev;
pub mod example;
pub mod layout;
pub mod platform;
pub mod settings;
pub mod up;
