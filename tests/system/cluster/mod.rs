//! The cluster: a real Kubernetes with the operator in it, installed by the chart.
//!
//! Its site is made once and entered by the main thread, so this group comes last.

mod changes;
mod chart;
mod clients;
mod files;
mod keys;
mod leader;
mod limits;
mod monitoring;
mod moving;
mod rest;
mod rules;
mod scaling;
mod site;
mod storage;
mod system;

use crate::group::Group;

pub(crate) fn group() -> Group {
    // The two minutes of rest come late: by then there is the most to be quiet about. After them all systems go.
    let scenarios = [
        monitoring::first_scenarios(),
        rules::scenarios(),
        system::scenarios(),
        limits::scenarios(),
        chart::scenarios(),
        clients::scenarios(),
        keys::scenarios(),
        changes::scenarios(),
        scaling::scenarios(),
        storage::scenarios(),
        moving::scenarios(),
        files::scenarios(),
        monitoring::scenarios(),
        leader::scenarios(),
        rest::scenarios(),
        chart::last_scenarios(),
    ];
    Group { name: "cluster", scenarios: scenarios.into_iter().flatten().collect(), shared: vec![&site::SITE] }
}
