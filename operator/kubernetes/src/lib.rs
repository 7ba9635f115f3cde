//! The cluster's side of the operator: a plan becomes objects, and objects become an observation.
//!
//! `render` is pure; `apply` writes what differs; `observe` reads back; `reconcile` is one look at one
//! system; `controller` has systems looked at while the `lease` is held. This crate must not know what a
//! server does, nor decide what runs: that stands in the plan. Servers and laptop mode must not know it.

mod apply;
mod asks;
mod cache;
mod child;
mod controller;
mod differ;
mod door;
mod error;
mod events;
mod http;
mod keys;
mod kind;
mod lease;
mod metrics;
mod monitors;
mod observe;
mod options;
mod pod;
mod queue;
mod reconcile;
mod render;
mod run;
mod setbacks;
mod watch;

#[cfg(test)]
mod scenarios;

pub use options::{Options, render_yaml};
pub use run::run;
