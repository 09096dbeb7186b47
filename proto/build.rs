//! Renders the contracts to Rust without protoc: protox compiles, tonic-prost-build generates, and the descriptor bytes are kept
//! with their custom options for the gateway, validation and reflection.
use std::{env, fmt::Write as _, fs, path::PathBuf};

use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed=slipway");
    println!("cargo::rerun-if-changed=third_party");

    let mut files = Vec::new();
    collect(&root.join("slipway"), &mut files)?;
    files.sort();
    for shared in ["google/rpc/status.proto", "google/rpc/error_details.proto", "google/rpc/code.proto"] {
        files.push(root.join("third_party").join(shared));
    }
    let mut compiler = protox::Compiler::new([root.clone(), root.join("third_party")])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    // Custom options survive only in the encoded form, not in prost-types' struct.
    let encoded = compiler.encode_file_descriptor_set();
    fs::write(out.join("descriptors.bin"), &encoded)?;

    let set = FileDescriptorSet::decode(encoded.as_slice())?;
    let mut config = tonic_prost_build::Config::new();
    config.btree_map(["."]).enable_type_names().include_file("packages.rs");
    let redacted = redacted(&encoded)?;
    config.skip_debug(redacted.iter().map(|(package, name)| format!(".{package}.{name}")));
    tonic_prost_build::configure()
        .build_transport(true)
        .emit_rerun_if_changed(false)
        .compile_fds_with_config(set.clone(), config)?;
    fs::write(out.join("request_ids.rs"), request_ids(&set))?;
    fs::write(out.join("redactions.rs"), redactions(&redacted))?;
    Ok(())
}

fn collect(dir: &std::path::Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

/// One `RequestId` implementation per top-level message with a string field `request_id`.
fn request_ids(set: &FileDescriptorSet) -> String {
    let mut code = String::new();
    for file in set.file.iter().filter(|f| f.package().starts_with("slipway.")) {
        let module = file.package().split('.').skip(1).collect::<Vec<_>>().join("::");
        for message in file.message_type.iter().filter(|m| has_request_id(m)) {
            let _ = writeln!(
                code,
                "impl crate::RequestId for crate::{module}::{} {{ fn request_id(&self) -> &str {{ &self.request_id }} fn clear_request_id(&mut self) {{ self.request_id.clear(); }} }}",
                message.name()
            );
        }
    }
    code
}

fn has_request_id(message: &DescriptorProto) -> bool {
    message.name().ends_with("Request") && message.field.iter().any(|f| f.name() == "request_id")
}

/// Package and name of every top-level message with a field marked `debug_redact`: its `Debug` shows no field (SAFE-77).
fn redacted(encoded: &[u8]) -> Result<Vec<(String, String)>, prost_reflect::DescriptorError> {
    let pool = prost_reflect::DescriptorPool::decode(encoded)?;
    let ours = pool.all_messages().filter(|m| m.parent_message().is_none() && m.package_name().starts_with("slipway."));
    Ok(ours
        .filter(|m| m.fields().any(|f| is_redacted(&f)))
        .map(|m| (m.package_name().to_owned(), m.name().to_owned()))
        .collect())
}

fn is_redacted(field: &prost_reflect::FieldDescriptor) -> bool {
    field.options().get_field_by_name("debug_redact").is_some_and(|v| v.as_bool() == Some(true))
}

fn redactions(messages: &[(String, String)]) -> String {
    let mut code = String::new();
    for (package, name) in messages {
        let module = package.split('.').skip(1).collect::<Vec<_>>().join("::");
        let _ = writeln!(
            code,
            "impl ::core::fmt::Debug for crate::{module}::{name} {{ fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{ f.write_str(\"{name} {{ *** }}\") }} }}"
        );
    }
    code
}
