//! Rebuilds the crate when a golden path changes: its files are embedded.
fn main() {
    println!("cargo:rerun-if-changed=../../golden-paths");
    println!("cargo:rerun-if-changed=../../migrations/scaffolding");
}
