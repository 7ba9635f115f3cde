//! What the API server refuses: the same files as laptop mode, in `crds/tests/refused`.

use std::fs;

use anyhow::{Context, Result, bail, ensure};

use super::site::{on_site, repository, system};
use crate::group::{Scenario, same};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("rules::each_is_refused_with_its_message", each_is_refused_with_its_message),
        Scenario::new("rules::defaults_are_filled_in", defaults_are_filled_in),
    ]
}

fn each_is_refused_with_its_message() -> Result<()> {
    on_site(|site| {
        let folder = repository().join("crds/tests/refused");
        let mut tried = 0;
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            let manifest = fs::read_to_string(&path)?;
            let expected = manifest
                .lines()
                .find_map(|line| {
                    line.strip_prefix("# refused: ").or_else(|| line.strip_prefix("# refused on a cluster: "))
                })
                .with_context(|| format!("{} does not say how it is refused", path.display()))?;
            match site.apply(&manifest) {
                Ok(()) => bail!("{} was accepted", path.display()),
                Err(error) => {
                    let told = format!("{error:#}");
                    ensure!(told.contains(expected), "{}: {expected:?} is not in {told}", path.display());
                }
            }
            tried += 1;
        }
        ensure!(tried > 20, "only {tried} files were tried");
        Ok(())
    })
}

fn defaults_are_filled_in() -> Result<()> {
    on_site(|site| {
        site.apply(&system("defaults", "{suspend: true}"))?;
        let spec = site.get(&["mcps", "defaults"])?["spec"].clone();
        same("the port of memory", &spec["servers"]["memory"]["port"], &8003)?;
        same("the limit of memory", &spec["servers"]["memory"]["resources"]["limits"]["memory"], "1Gi")?;
        same("the limit of CPU", &spec["servers"]["tools"]["resources"]["limits"]["cpu"], "800m")?;
        same("the failure threshold", &spec["resilience"]["failureThreshold"], &5)?;
        site.condition("defaults", "Ready", "False", "Suspended")?;
        site.delete(&["defaults"])
    })
}
