fn main() {
    print!("{}", mcp_system_crds::crd_yaml());
}
