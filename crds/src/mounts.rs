//! Files of a user's own that a server reads.

use crate::{SecretReference, rules};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A folder of files: exactly one of `configMap`, `secret` and `persistentVolumeClaim`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::mount()))]
pub struct Mount {
    /// The folder in which the server finds the files, such as /etc/shop.
    #[schemars(length(min = 2, max = 255))]
    pub mount_path: String,
    /// A ConfigMap: each of its keys is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<MountedConfigMap>,
    /// A Secret: each of its keys is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretReference>,
    /// A volume claim, for what is large or written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<MountedClaim>,
}

/// A ConfigMap in the system's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MountedConfigMap {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The keys that become files. Default all, under their own names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub items: Vec<MountedKey>,
}

/// A key that becomes a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::mounted_key()))]
pub struct MountedKey {
    /// The key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// The file's path below mountPath.
    #[schemars(length(min = 1, max = 255))]
    pub path: String,
}

/// A volume claim in the system's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MountedClaim {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
    /// Whether the server may only read it. Default true. One that is written to holds one replica.
    #[serde(default = "only_read")]
    pub read_only: bool,
}

const fn only_read() -> bool {
    true
}
