//! A real Kubernetes cluster on this machine: for the tests of this project, and to play with.
//!
//! etcd, the Kubernetes programs, containerd, Helm, `CoreDNS` and Prometheus are built from Go modules
//! (`tests/tools`) the first time they are needed, and kept in `$MCP_SYSTEM_TEST_CACHE`, by default
//! `mcp-system-tests` in the user's cache folder. runc, the network plugins and iptables are Debian packages, which
//! are installed if they are missing. Nothing is pulled from an image registry.
//!
//! # Play with it
//! It takes Linux, root, Go and about 15 minutes the first time, half a minute later.
//! ```text
//! cargo cluster up                          a node, DNS, volumes
//! cargo cluster up --with-prometheus        also the Prometheus Operator and a Prometheus
//! cargo cluster up --until control-plane    an API server without nodes
//! cargo cluster status
//! cargo cluster kubectl -- get pods -A
//! cargo cluster helm -- list -A
//! cargo cluster run -- curl http://ADDRESS/health               any command, inside its network
//! cargo cluster image NAME:TAG IMAGE.tar PROGRAM                an image archive of a static program
//! cargo cluster load IMAGE.tar              an OCI or docker archive
//! cargo cluster reclaim                     released volumes are emptied and offered anew
//! cargo cluster environment                 what names it to tests of another process
//! cargo cluster down
//! cargo cluster parts                       only build and install everything
//! cargo cluster parts databases             only the databases; takes no root
//! ```
//! The whole cluster lives in a network namespace of its own, with mounts of its own; `down`, the end of a test run
//! and Ctrl-C leave nothing behind but logs, in `/var/tmp/mcp-system-tests/logs` until the next start. After a SIGKILL
//! the next `up`, `down` or test run cleans up.
//!
//! # In a test
//! ```no_run
//! use mcp_system_tests::cluster::{Cluster, Stage};
//!
//! # fn main() -> anyhow::Result<()> {
//! let cluster = Cluster::for_tests(Stage::All)?; // before any thread is started
//! cluster.enter_network()?; // addresses of pods and Services are reachable from here on
//! println!("{}", cluster.kubectl(&["get", "nodes"])?);
//! # Ok(())
//! # }
//! ```
//! `MCP_SYSTEM_TEST_KUBECONFIG` names another cluster to test on; `CONTRIBUTING.md` says what it has to bring.
//! `KUBECONFIG` is never used.
//!
//! # Not a real cluster in this
//! One node. The bridge network plugin enforces no `NetworkPolicy`. Nothing outside can be reached, and no name of it
//! resolves. Volumes are some local ones.
//!
//! # Beside the cluster
//! [`laptop`] runs a system with `mcp-system up`, [`clients`] are the official MCP SDKs, [`databases`] are a real
//! PostgreSQL, Weaviate and Redis, [`weights`] those of real models, [`conformance`] is the official conformance suite;
//! [`endpoint`] stands in for what costs money to ask. The scenarios that use all of this are one test binary:
//! `cargo test --workspace --profile bench --test system`, with `-- laptop` for one group.

mod cache;
pub mod clients;
pub mod cluster;
pub mod conformance;
pub mod databases;
pub mod endpoint;
pub mod laptop;
pub mod ports;
pub mod single;
pub mod tied;
pub mod weights;
mod wheels;
pub mod wire;
