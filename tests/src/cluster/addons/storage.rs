//! Volumes: a default storage class with local `PersistentVolumes` that exist beforehand, since nothing here
//! provisions any.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cluster::{access, layout, node};

/// How many claims can be bound at once: more than a run of all tests makes.
const VOLUMES: usize = 32;
const CLASS: &str = "standard";

/// Installs the class and its volumes.
pub(crate) fn install() -> Result<()> {
    let mut items = vec![json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "reclaimPolicy": "Retain",
        "volumeBindingMode": "WaitForFirstConsumer",
    })];
    for number in 0..VOLUMES {
        let name = format!("local-{number:02}");
        make_folder(&name)?;
        items.push(volume(&name));
    }
    apply(&items)
}

/// Empties the volumes whose claims are gone and offers them anew; says how many those were.
pub(crate) fn reclaim() -> Result<usize> {
    let list = access::admin_kubectl(&["get", "persistentvolumes", "--output=json"])?;
    let list: Value = serde_json::from_str(&list).context("kubectl gave no JSON")?;
    let released: Vec<&str> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|volume| {
            volume["status"]["phase"] == "Released" && volume["spec"]["storageClassName"] == CLASS
        })
        .filter_map(|volume| volume["metadata"]["name"].as_str())
        .filter(|name| folder(name).exists())
        .collect();
    for name in &released {
        access::admin_kubectl(&["delete", "persistentvolume", name])?;
        let folder = folder(name);
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        make_folder(name)?;
    }
    if !released.is_empty() {
        apply(&released.iter().map(|name| volume(name)).collect::<Vec<_>>())?;
    }
    Ok(released.len())
}

fn apply(items: &[Value]) -> Result<()> {
    access::apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())
}

fn folder(name: &str) -> PathBuf {
    layout::run("volumes").join(name)
}

fn make_folder(name: &str) -> Result<()> {
    let folder = folder(name);
    layout::create_dir(&folder)?;
    // Whatever user a pod runs as may write, even one that sets no fsGroup.
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777))
        .with_context(|| format!("cannot open {} to all", folder.display()))
}

fn volume(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": CLASS,
            "local": {"path": folder(name)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node::NAME]},
            ]}]}},
        },
    })
}
