//! What `plan` prints of each example: both renders side by side, which shows that they mean the same.

use crate::home::program;
use std::path::Path;
use std::process::Command;

/// A folder that nothing is written to: a plan runs nothing.
const HOME: &str = "/mcp-system-home";

#[test]
fn both_sides_of_each_example() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository");
    let repository_text = repository.to_str().expect("a path in UTF-8");
    let binary = program();
    for example in ["minimal", "tuned", "extra-servers", "weaviate-direct", "postgres", "files"] {
        let output = Command::new(&binary)
            .args(["plan", "--image", "registry.example/mcp-system:1.2.3", "-f"])
            .arg(repository.join(format!("examples/{example}.yaml")))
            // Whether this machine runs images makes no difference then.
            .env("PATH", "")
            .env("MCP_HOME", HOME)
            .env("MCP_POSTGRES_URL", "postgres://memory:s3cret@db/memory")
            .output()
            .expect("the binary runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).expect("text");
        assert!(!printed.contains("s3cret"), "a secret is shown");
        let printed = printed.replace(&binary, "<mcp-system>").replace(repository_text, "<repository>");
        insta::assert_snapshot!(example, printed.replace(env!("CARGO_PKG_VERSION"), "<version>"));
    }
    assert!(!Path::new(HOME).exists(), "a plan wrote something");
}
