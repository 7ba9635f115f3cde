//! Every rule that the schema's types and limits cannot tell, in the Common Expression Language of
//! Kubernetes. The API server and laptop mode evaluate the same ones. Each message says what to change.

use serde_json::{Value, json};

pub(crate) fn resources() -> Value {
    json!([
        {
            "rule": "self.limits.all(k, isQuantity(self.limits[k]))",
            "message": "a limit is not a quantity: write cpu as 800m or 2, memory as 512Mi or 1Gi",
        },
        {
            "rule": "self.requests.all(k, isQuantity(self.requests[k]))",
            "message": "a request is not a quantity: write cpu as 20m or 1, memory as 64Mi or 1Gi",
        },
        {
            "rule": "self.requests.all(k, !(k in self.limits) || !isQuantity(self.requests[k]) || !isQuantity(self.limits[k]) || quantity(self.requests[k]).compareTo(quantity(self.limits[k])) <= 0)",
            "message": "a request is above its limit: lower the request or raise the limit",
        },
    ])
}

pub(crate) fn env_var() -> Value {
    json!([
        {
            "rule": "has(self.value) != has(self.valueFrom)",
            "message": "an environment variable needs either value or valueFrom, and not both",
        },
    ])
}

/// The folders of a server that are the system's own, with what they hold: /tmp, settings and keys, data, the program.
const TAKEN: &str =
    "['/tmp', '/etc/mcp-system', '/var/lib/mcp-system', '/mcp-system', '/proc', '/sys', '/dev']";

/// A path as a folder of plain names.
const PLAIN_PATH: &str = "^(/[.]?[A-Za-z0-9_-][A-Za-z0-9._-]*)+$";

pub(crate) fn mount() -> Value {
    json!([
        {
            "rule": "(has(self.configMap) ? 1 : 0) + (has(self.secret) ? 1 : 0) + (has(self.persistentVolumeClaim) ? 1 : 0) == 1",
            "message": "a mount is exactly one of configMap, secret and persistentVolumeClaim: keep one and remove the others",
        },
        {
            "rule": format!("self.mountPath.matches('{PLAIN_PATH}')"),
            "message": "mountPath is not the absolute path of a folder: write it as /etc/shop, without .. and without a slash at its end",
        },
        {
            "rule": format!("!{TAKEN}.exists(p, (p + '/').startsWith(self.mountPath + '/') || (self.mountPath + '/').startsWith(p + '/'))"),
            "message": "mountPath hides what the server itself needs there: choose a folder outside /tmp, /etc/mcp-system, /var/lib/mcp-system, /mcp-system, /proc, /sys and /dev that holds none of them, such as /etc/shop",
        },
    ])
}

pub(crate) fn mounts() -> Value {
    json!([
        {
            "rule": "self.all(m, self.filter(n, (n.mountPath + '/').startsWith(m.mountPath + '/')).size() == 1)",
            "message": "a mountPath is that of another mount or lies within it: give each a folder of its own",
        },
    ])
}

pub(crate) fn mounted_key() -> Value {
    json!([
        {
            // No regular expression: there may be so many keys that the API server would not allow for its cost.
            "rule": "!self.path.startsWith('/') && !self.path.contains('..')",
            "message": "path leads out of the mounted folder: write it relative to mountPath, as shop.yaml, without ..",
        },
    ])
}

/// Rules of every server.
pub(crate) fn workload() -> Value {
    json!([written_claim(), autoscaling()])
}

/// Two processes never write to one volume that they do not know to be shared.
fn written_claim() -> Value {
    json!({
        "rule": "(self.replicas == 1 && !has(self.autoscaling)) || !has(self.mounts) || self.mounts.all(m, !has(m.persistentVolumeClaim) || m.persistentVolumeClaim.readOnly)",
        "message": "a volume claim that is written to (readOnly: false) holds one replica: set replicas to 1 and remove autoscaling, or set readOnly to true",
    })
}

/// What an autoscaler has to decide between.
fn autoscaling() -> Value {
    json!({
        "rule": "!has(self.autoscaling) || (has(self.autoscaling.minReplicas) ? self.autoscaling.minReplicas : self.replicas) <= self.autoscaling.maxReplicas",
        "message": "autoscaling.maxReplicas is below the fewest replicas, which are autoscaling.minReplicas or else replicas: raise the first or lower the others",
    })
}

pub(crate) fn memory_settings() -> Value {
    json!([
        {
            "rule": "self.pool.minSize <= self.pool.maxSize",
            "message": "pool.minSize is above pool.maxSize: lower minSize or raise maxSize",
        },
    ])
}

pub(crate) fn weaviate_direct() -> Value {
    json!([
        {
            "rule": "self.config.url.matches('^https?://[^/]+')",
            "message": "weaviateDirect.config.url is not the address of a Weaviate: write http://weaviate:8080",
        },
        written_claim(),
        autoscaling(),
    ])
}

pub(crate) fn extra_server() -> Value {
    json!([
        {
            "rule": "(has(self.image) ? 1 : 0) + (has(self.process) ? 1 : 0) + (has(self.url) ? 1 : 0) == 1",
            "message": "an extra server is exactly one of image, process and url: keep one and remove the others",
        },
        {
            "rule": "has(self.url) ? !has(self.port) : has(self.port)",
            "message": "an image or a process needs a port, and a url holds its own: set port for image and process only",
        },
        {
            "rule": "!(self.name in ['orchestrator', 'memory', 'tools', 'weaviate-direct', 'operator'])",
            "message": "this name is that of a server of the system itself: choose another one",
        },
        {
            "rule": "!has(self.url) || !has(self.mounts) || self.mounts.size() == 0",
            "message": "a url runs elsewhere, where nothing can be mounted: remove mounts, or run the server as an image",
        },
        written_claim(),
        autoscaling(),
    ])
}

pub(crate) fn storage() -> Value {
    json!([
        {
            "rule": "self.type != 'Postgres' || has(self.postgres)",
            "message": "storage.type is Postgres, but storage.postgres is missing: say how the database is reached",
        },
        {
            "rule": "!has(self.postgres) || !has(self.postgres.urlSecret.optional) || !self.postgres.urlSecret.optional",
            "message": "storage.postgres.urlSecret cannot be optional: nothing is stored without a database",
        },
    ])
}

pub(crate) fn embedded_storage() -> Value {
    json!([
        {
            "rule": "isQuantity(self.size)",
            "message": "storage.embedded.size is not a quantity: write it as 512Mi or 10Gi",
        },
    ])
}

pub(crate) fn spec() -> Value {
    json!([
        {
            "rule": "self.storage.type != 'Embedded' || self.servers.memory.replicas == 1",
            "message": "embedded storage holds one memory replica: set servers.memory.replicas to 1, or use storage.type Postgres",
        },
        {
            "rule": "self.storage.type != 'Embedded' || !has(self.servers.memory.autoscaling) || self.servers.memory.autoscaling.maxReplicas == 1",
            "message": "embedded storage holds one memory replica: remove servers.memory.autoscaling, or use storage.type Postgres",
        },
        {
            "rule": "!(self.servers.orchestrator.enabled && self.servers.memory.enabled && self.servers.orchestrator.port == self.servers.memory.port) && !(self.servers.orchestrator.enabled && self.servers.tools.enabled && self.servers.orchestrator.port == self.servers.tools.port) && !(self.servers.memory.enabled && self.servers.tools.enabled && self.servers.memory.port == self.servers.tools.port)",
            "message": "two servers have the same port: give each of orchestrator, memory and tools its own",
        },
        {
            "rule": "!has(self.servers.weaviateDirect) || !(self.servers.weaviateDirect.port in [self.servers.orchestrator.port, self.servers.memory.port, self.servers.tools.port])",
            "message": "weaviateDirect has the port of another server: give it its own",
        },
        {
            "rule": "!has(self.extraServers) || self.extraServers.all(e, !has(e.port) || (!(self.servers.orchestrator.enabled && e.port == self.servers.orchestrator.port) && !(self.servers.memory.enabled && e.port == self.servers.memory.port) && !(self.servers.tools.enabled && e.port == self.servers.tools.port) && !(has(self.servers.weaviateDirect) && e.port == self.servers.weaviateDirect.port)))",
            "message": "an extra server has the port of one of the system's own: give it another",
        },
        {
            "rule": "!has(self.extraServers) || self.extraServers.all(e, !has(e.port) || self.extraServers.filter(f, has(f.port) && f.port == e.port).size() == 1)",
            "message": "two extra servers have the same port: give each its own",
        },
        {
            "rule": "!has(self.extraServers) || self.extraServers.all(e, self.extraServers.filter(f, f.name == e.name).size() == 1)",
            "message": "two extra servers have the same name: give each its own",
        },
    ])
}

pub(crate) fn resilience() -> Value {
    json!([
        {
            "rule": "self.retry.minBackoffMilliseconds <= self.retry.maxBackoffMilliseconds",
            "message": "retry.minBackoffMilliseconds is above retry.maxBackoffMilliseconds: lower the first or raise the second",
        },
    ])
}

pub(crate) fn image() -> Value {
    json!([
        {
            "rule": "!(has(self.tag) && has(self.digest))",
            "message": "image has both tag and digest: keep one of them",
        },
    ])
}
