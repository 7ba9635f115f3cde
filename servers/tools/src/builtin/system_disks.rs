//! `system_disks`: how full the disks are.

use super::SYSTEM;
use crate::tool::{About, Call, Effect, Failure, Tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sysinfo::Disks as Found;

#[derive(Debug)]
pub(super) struct SystemDisks;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Disks {
    disks: Vec<Disk>,
    /// How many there are.
    count: usize,
}

/// One disk, or a part of one.
#[derive(Debug, Serialize, JsonSchema)]
struct Disk {
    mount_point: String,
    /// For example "ext4".
    file_system: String,
    total_bytes: u64,
    available_bytes: u64,
    /// Percent of it that is in use.
    used_percent: f64,
    read_only: bool,
}

impl Tool for SystemDisks {
    type Input = Nothing;
    type Output = Disks;

    fn about(&self) -> About {
        About {
            name: "system_disks",
            title: "Look at the disks",
            category: SYSTEM,
            description: "Tell the disks that are mounted on the machine on which this server runs, and how \
                          full each is.",
            keywords: &[
                "disk",
                "drive",
                "hard drive",
                "storage",
                "space",
                "free",
                "full",
                "df",
                "filesystem",
            ],
            effect: Effect::Reads,
            open_world: false,
        }
    }

    async fn execute(&self, Nothing {}: Nothing, _: &Call) -> Result<Disks, Failure> {
        // A network's disk that does not answer would hold up everybody else.
        let look = || Found::new_with_refreshed_list().map_err(|error| Failure(error.to_string()));
        let found = tokio::task::spawn_blocking(look).await.map_err(|error| Failure(error.to_string()))??;
        let mut disks: Vec<Disk> = found
            .iter()
            .map(|disk| Disk {
                mount_point: disk.mount_point().to_string_lossy().into_owned(),
                file_system: disk.file_system().to_string_lossy().into_owned(),
                total_bytes: disk.total_space(),
                available_bytes: disk.available_space(),
                used_percent: used_percent(disk.total_space(), disk.available_space()),
                read_only: disk.is_read_only(),
            })
            .collect();
        disks.sort_by(|a, b| a.mount_point.cmp(&b.mount_point));
        Ok(Disks { count: disks.len(), disks })
    }
}

#[allow(clippy::cast_precision_loss, reason = "a percentage needs no more")]
fn used_percent(total: u64, available: u64) -> f64 {
    if total == 0 {
        return 0.0;
    }
    (total.saturating_sub(available) as f64 / total as f64 * 1000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_disks_are_described() {
        let found = SystemDisks.execute(Nothing {}, &Call::default()).await.expect("described");
        assert_eq!(found.count, found.disks.len());
        for disk in found.disks {
            assert!(disk.total_bytes >= disk.available_bytes && (0.0..=100.0).contains(&disk.used_percent));
        }
        assert!((used_percent(1000, 250) - 75.0).abs() < f64::EPSILON);
        assert!(used_percent(0, 0).abs() < f64::EPSILON);
    }
}
