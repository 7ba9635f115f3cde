# One-line recipes; `just` lists them.

_default:
    @just --list

# Run a system on this machine: `just up -f examples/tuned.yaml`
up *ARGS:
    cargo run --release -- up {{ARGS}}

# Run every test there is, as CI does
test *ARGS:
    tests/run {{ARGS}}

# Run the tests that need no cluster
test-fast:
    tests/run fast

# Format, and let clippy look at everything
lint:
    cargo fmt --all && cargo clippy --workspace --all-targets --profile bench -- -D warnings

# Write the CRD that the types give
crd:
    cargo run --release -- crd > crds/mcpsystems.yaml && cp crds/mcpsystems.yaml charts/mcp-system/files/mcpsystems.yaml

# Write the lists of near tokens that the table of vectors gives
near:
    MCP_SYSTEM_UPDATE=1 cargo test --profile bench -p mcp-system-retrieval the_file_is_what_the_table_makes

# Build the container image with docker, podman or buildah
image TAG="mcp-system:dev":
    ./image {{TAG}}

# Start a real Kubernetes in a network namespace, to play with
cluster *ARGS:
    cargo cluster {{ARGS}}

# Accept changed snapshots
accept:
    cargo build --release --workspace && INSTA_UPDATE=always cargo test --workspace --profile bench -- --skip cluster:: --skip laptop:: --skip clients::
