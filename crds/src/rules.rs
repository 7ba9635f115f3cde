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

pub(crate) fn memory_settings() -> Value {
    json!([
        {
            "rule": "self.pool.minSize <= self.pool.maxSize",
            "message": "pool.minSize is above pool.maxSize: lower minSize or raise maxSize",
        },
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
    ])
}

pub(crate) fn storage() -> Value {
    json!([
        {
            "rule": "self.type != 'Postgres' || has(self.postgres)",
            "message": "storage.type is Postgres, but storage.postgres is missing: say how the database is reached",
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
