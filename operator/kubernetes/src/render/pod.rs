//! The pods of a server, under the restricted Pod Security Standard.
//!
//! Every container runs as user 65532, extra servers' as well: an image that runs as root by default would
//! otherwise not start at all where only the standard is asked for. What such an image writes besides /tmp
//! has to be set in its environment.

use crate::render::{Owner, config_map, labels, service};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapProjection, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource,
    EnvVar, EnvVarSource, HTTPGetAction, KeyToPath, LocalObjectReference, PersistentVolumeClaimVolumeSource,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource, ResourceRequirements,
    SeccompProfile, SecretKeySelector, SecretProjection, SecretVolumeSource, SecurityContext,
    TCPSocketAction, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mcp_system_crds::Probe as Timing;
use mcp_system_plan::{Env, EnvValue, Health, Image, MountSource, Run, SecretFile, SecretSource, Workload};
use std::collections::BTreeMap;

/// The user and group that containers run as: `nonroot` in most minimal images.
const USER: i64 = 65532;
const CONFIG_FOLDER: &str = "/etc/mcp-system";
/// What a server reads is for its user and group alone: there are keys among it.
const FILE_MODE: i32 = 0o440;
const DATA_FOLDER: &str = "/var/lib/mcp-system";
const TEMPORARY_FOLDER: &str = "/tmp";
/// The container's name.
pub(crate) const CONTAINER: &str = "server";
/// The name of the container that moves what the volume holds, before the server starts.
pub(crate) const MOVER: &str = "move";
/// The file in which a container tells how it ended: the kubelet puts it into the pod's status.
const REPORT: &str = "/dev/termination-log";

pub(super) fn template(workload: &Workload, owner: &Owner) -> PodTemplateSpec {
    let mut labels = workload.labels.clone();
    labels.extend(labels::of(workload, owner));
    let mut annotations = workload.annotations.clone();
    if let Some(config) = &workload.config {
        annotations.insert(labels::CONFIG_HASH.to_owned(), config.restart_hash.clone());
    }
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(spec(workload, owner)),
    }
}

fn spec(workload: &Workload, owner: &Owner) -> PodSpec {
    let (image, args) = command(workload);
    let scheduling = &workload.scheduling;
    let volumes = volumes(workload, owner);
    let container = Container {
        image: Some(image.reference.clone()),
        image_pull_policy: Some(image.pull_policy.name().to_owned()),
        env: some(workload.env.iter().map(env).collect()),
        resources: Some(ResourceRequirements {
            limits: quantities(&workload.resources.limits),
            requests: quantities(&workload.resources.requests),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(volumes.iter().map(|(mount, _)| mount.clone()).collect()),
        ..Container::default()
    };
    PodSpec {
        service_account_name: Some(owner.object_name(&workload.name)),
        automount_service_account_token: Some(false),
        // A Service called mcp-memory would otherwise set MCP_MEMORY_PORT to an address.
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(i64::from(workload.termination_seconds)),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            // A volume with millions of files would otherwise be walked at each start.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        image_pull_secrets: some(
            image.pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect(),
        ),
        node_selector: (!scheduling.node_selector.is_empty()).then(|| scheduling.node_selector.clone()),
        tolerations: some(scheduling.tolerations.clone()),
        affinity: scheduling.affinity.clone(),
        topology_spread_constraints: some(scheduling.topology_spread_constraints.clone()),
        priority_class_name: scheduling.priority_class_name.clone(),
        init_containers: workload.moves.then(|| vec![mover(container.clone())]),
        containers: vec![server(container, workload, args)],
        volumes: Some(volumes.into_iter().map(|(_, volume)| volume).collect()),
        ..PodSpec::default()
    }
}

/// The image that runs, and its arguments.
fn command(workload: &Workload) -> (Image, Vec<String>) {
    match &workload.run {
        Run::Serve { kind, image } => {
            let mut args: Vec<String> =
                ["serve", kind.name(), "--config"].into_iter().map(str::to_owned).collect();
            args.push(format!("{CONFIG_FOLDER}/{}", config_map::FILE));
            args.extend(["--bind".to_owned(), "0.0.0.0".to_owned()]);
            args.extend(["--port".to_owned(), workload.port.to_string()]);
            args.extend(["--data".to_owned(), DATA_FOLDER.to_owned()]);
            (image.clone().unwrap_or_else(|| unreachable!("a cluster's plan names every image")), args)
        }
        Run::Image { image, args } => (image.clone(), args.clone()),
        Run::Process { .. } => unreachable!("processes are not rendered for a cluster"),
    }
}

/// What is mounted, and where.
fn volumes(workload: &Workload, owner: &Owner) -> Vec<(VolumeMount, Volume)> {
    let mount = |name: &str, folder: &str, read_only: Option<bool>| VolumeMount {
        name: name.to_owned(),
        mount_path: folder.to_owned(),
        read_only,
        ..VolumeMount::default()
    };
    let named = |name: &str| Volume { name: name.to_owned(), ..Volume::default() };
    let empty = |name: &str| Volume { empty_dir: Some(EmptyDirVolumeSource::default()), ..named(name) };
    let object = owner.object_name(&workload.name);

    let mut volumes = vec![(mount("tmp", TEMPORARY_FOLDER, None), empty("tmp"))];
    if workload.config.is_some() {
        // One volume, not one each with a `subPath`: so the kubelet brings changes to a running server.
        let config_map = ConfigMapProjection { name: object.clone(), ..ConfigMapProjection::default() };
        let config = VolumeProjection { config_map: Some(config_map), ..VolumeProjection::default() };
        let source = ProjectedVolumeSource {
            default_mode: Some(FILE_MODE),
            sources: Some([config].into_iter().chain(workload.secrets.iter().map(projection)).collect()),
        };
        volumes.push((
            mount("config", CONFIG_FOLDER, Some(true)),
            Volume { projected: Some(source), ..named("config") },
        ));
    }
    if workload.volume.is_some() {
        let source = PersistentVolumeClaimVolumeSource { claim_name: object, read_only: None };
        volumes.push((
            mount("data", DATA_FOLDER, None),
            Volume { persistent_volume_claim: Some(source), ..named("data") },
        ));
    } else if workload.kind().is_some() {
        // A server without a claim of its own may still write there; nothing of it is kept.
        volumes.push((mount("data", DATA_FOLDER, None), empty("data")));
    }
    for (index, files) in workload.mounts.iter().enumerate() {
        // By a number, since a path may be longer than the name of a volume, and none of the others has one.
        let name = format!("files-{index}");
        let is_written = matches!(files.source, MountSource::Claim { read_only: false, .. });
        volumes.push((
            mount(&name, &files.path, (!is_written).then_some(true)),
            source(&files.source, named(&name)),
        ));
    }
    volumes
}

/// A volume of the user's own files. A claim that is only read is mounted so on its node as well: its files stay as they
/// are, and have to be such that user or group 65532, or everybody, may read them.
fn source(source: &MountSource, volume: Volume) -> Volume {
    match source {
        MountSource::ConfigMap { name, items } => {
            let key = |(key, path): &(String, String)| KeyToPath {
                key: key.clone(),
                path: path.clone(),
                mode: None,
            };
            let config_map = ConfigMapVolumeSource {
                name: name.clone(),
                items: some(items.iter().map(key).collect()),
                default_mode: Some(FILE_MODE),
                optional: None,
            };
            Volume { config_map: Some(config_map), ..volume }
        }
        MountSource::Secret { name } => {
            let secret = SecretVolumeSource {
                secret_name: Some(name.clone()),
                default_mode: Some(FILE_MODE),
                ..SecretVolumeSource::default()
            };
            Volume { secret: Some(secret), ..volume }
        }
        MountSource::Claim { name, read_only } => {
            let claim = PersistentVolumeClaimVolumeSource {
                claim_name: name.clone(),
                // The API leaves out what is false.
                read_only: read_only.then_some(true),
            };
            Volume { persistent_volume_claim: Some(claim), ..volume }
        }
    }
}

fn projection(file: &SecretFile) -> VolumeProjection {
    let (SecretSource::Made { secret, key } | SecretSource::Given { secret, key, .. }) = &file.source;
    VolumeProjection {
        secret: Some(SecretProjection {
            name: secret.clone(),
            items: Some(vec![KeyToPath { key: key.clone(), path: file.path.clone(), mode: None }]),
            optional: None,
        }),
        ..VolumeProjection::default()
    }
}

fn env(variable: &Env) -> EnvVar {
    let name = variable.name.clone();
    match &variable.value {
        EnvValue::Literal(value) => EnvVar { name, value: Some(value.clone()), value_from: None },
        EnvValue::Secret { name: secret, key, optional } => EnvVar {
            name,
            value: None,
            value_from: Some(EnvVarSource {
                secret_key_ref: Some(SecretKeySelector {
                    name: secret.clone(),
                    key: key.clone(),
                    optional: optional.then_some(true),
                }),
                ..EnvVarSource::default()
            }),
        },
    }
}

/// What every container of a pod has, as the one that serves.
fn server(container: Container, workload: &Workload, args: Vec<String>) -> Container {
    let port = || IntOrString::String(service::PORT.to_owned());
    let probe = |timing: &Timing, path: Option<&String>| Probe {
        http_get: path.map(|path| HTTPGetAction {
            path: Some(path.clone()),
            port: port(),
            ..HTTPGetAction::default()
        }),
        tcp_socket: path.is_none().then(|| TCPSocketAction { port: port(), host: None }),
        // The API leaves out a delay of 0.
        initial_delay_seconds: Some(timing.initial_delay_seconds).filter(|delay| *delay > 0),
        period_seconds: Some(timing.period_seconds),
        timeout_seconds: Some(timing.timeout_seconds),
        failure_threshold: Some(timing.failure_threshold),
        ..Probe::default()
    };
    let (ready, live) = match &workload.health {
        Health::Http { ready, live } => (Some(ready), Some(live)),
        Health::Port => (None, None),
    };
    let timings = &workload.probes;
    Container {
        name: CONTAINER.to_owned(),
        args: some(args),
        ports: Some(vec![ContainerPort {
            name: Some(service::PORT.to_owned()),
            container_port: i32::from(workload.port),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        startup_probe: Some(probe(&timings.startup, ready)),
        readiness_probe: Some(probe(&timings.readiness, ready)),
        liveness_probe: Some(probe(&timings.liveness, live)),
        ..container
    }
}

/// The same as the one that moves what the volume holds into the database of the settings.
fn mover(container: Container) -> Container {
    let config = format!("{CONFIG_FOLDER}/{}", config_map::FILE);
    let args = ["memory", "move", "--config", &config, "--data", DATA_FOLDER, "--report", REPORT];
    Container {
        name: MOVER.to_owned(),
        args: Some(args.map(str::to_owned).to_vec()),
        // Why it failed shall stand in the status of the pod.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..container
    }
}

fn quantities(quantities: &BTreeMap<String, String>) -> Option<BTreeMap<String, Quantity>> {
    (!quantities.is_empty())
        .then(|| quantities.iter().map(|(name, value)| (name.clone(), Quantity(value.clone()))).collect())
}

/// The API leaves out empty lists.
fn some<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}
