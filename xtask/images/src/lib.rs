//! Container images from one static program, without a builder and without a registry.
//!
//! Owns the OCI archive (one layer, configuration, manifest, index) and its import into a containerd. The archive names the image
//! by `repository@sha256:…` besides the tag, so that a node finds by digest what no registry has. The same program gives the same
//! digest. Refuses everything a builder is for: base images, several layers, files besides the program.

mod tar;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Where the program stands in the image; also its entry point.
pub const PROGRAM: &str = "/service";

/// An image, ready to be imported.
pub struct Image {
    repository: String,
    tag: String,
    digest: String,
    archive: Vec<u8>,
}

/// Packs the program into an image named `repository` or `repository:tag`; it runs as the user 65532.
pub fn pack(name: &str, program: &Path) -> Result<Image> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    Image::of(name, &bytes)
}

/// Packs the program so that it stands at `path` in the image instead of [`PROGRAM`].
pub fn pack_at(name: &str, program: &Path, path: &str) -> Result<Image> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    Image::at(name, &bytes, path)
}

impl Image {
    /// Packs a program that is in memory.
    pub fn of(name: &str, program: &[u8]) -> Result<Self> {
        Self::at(name, program, PROGRAM)
    }

    fn at(name: &str, program: &[u8], path: &str) -> Result<Self> {
        let (repository, tag) = split(name)?;
        let entry = path.strip_prefix('/').with_context(|| format!("{path:?} does not begin at the root"))?;
        let layer = tar::archive(&[tar::Entry { path: entry, mode: 0o755, bytes: program }])?;
        let config = config(&digest(&layer), path).to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": [descriptor(LAYER, &layer)],
        });
        let manifest = manifest.to_string().into_bytes();
        let mut image = Self { repository, tag, digest: digest(&manifest), archive: Vec::new() };
        image.archive = image.write(&layer, &config, &manifest)?;
        Ok(image)
    }

    /// The manifest's digest: `sha256:…`.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// How a workload names the image: `repository@sha256:…`.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.repository, self.digest)
    }

    /// The image's other name: `repository:tag`.
    pub fn tagged(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }

    /// The OCI archive, a tar.
    pub fn archive(&self) -> &[u8] {
        &self.archive
    }

    fn write(&self, layer: &[u8], config: &[u8], manifest: &[u8]) -> Result<Vec<u8>> {
        // Two entries of one manifest: containerd makes a name of each.
        let names = [self.reference(), self.tagged()];
        let index: Vec<Value> = names.iter().map(|name| named(descriptor(MANIFEST, manifest), name)).collect();
        let index = json!({"schemaVersion": 2, "manifests": index}).to_string();
        let layout = json!({"imageLayoutVersion": "1.0.0"}).to_string();
        let blobs = [layer, config, manifest].map(|bytes| (blob(bytes), bytes));
        let mut entries = vec![
            tar::Entry { path: "oci-layout", mode: 0o644, bytes: layout.as_bytes() },
            tar::Entry { path: "index.json", mode: 0o644, bytes: index.as_bytes() },
        ];
        entries.extend(blobs.iter().map(|(path, bytes)| tar::Entry { path, mode: 0o644, bytes }));
        tar::archive(&entries)
    }
}

/// A containerd that images can be imported into.
#[derive(Clone, Debug)]
pub struct Containerd {
    /// Its socket.
    pub socket: PathBuf,
    /// Its client program `ctr`.
    pub ctr: PathBuf,
}

impl Containerd {
    /// Imports the image for the kubelet's use; done again it changes nothing.
    pub fn import(&self, image: &Image) -> Result<()> {
        let mut file = tempfile::Builder::new().prefix("slipway-image-").suffix(".tar").tempfile()?;
        file.write_all(&image.archive)?;
        file.flush()?;
        let out = self.command().args(["images", "import"]).arg(file.path()).stdin(Stdio::null()).output();
        let out = out.with_context(|| format!("cannot start {}", self.ctr.display()))?;
        if !out.status.success() {
            bail!("the import of {} failed: {}", image.reference(), String::from_utf8_lossy(&out.stderr).trim());
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.ctr);
        // The namespace is the one that kubelet's images live in.
        command.arg("--address").arg(&self.socket).args(["--namespace", "k8s.io"]);
        command
    }
}

fn split(name: &str) -> Result<(String, String)> {
    if name.is_empty() || name.contains('@') || name.chars().any(|c| c.is_whitespace() || c.is_uppercase()) {
        bail!("{name:?} is no image name: repository or repository:tag, in lower case");
    }
    let (host, _) = name.split_once('/').with_context(|| format!("{name:?} has no host: registry.test/{name}"))?;
    if !host.contains(['.', ':']) {
        // Kubernetes would read `shop/app` as `docker.io/shop/app`, and the import would not be found.
        bail!("{name:?} does not begin with a host: registry.test/{name}");
    }
    Ok(match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository.to_owned(), tag.to_owned()),
        _ => (name.to_owned(), "latest".to_owned()),
    })
}

fn config(layer: &str, program: &str) -> Value {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "architecture": architecture, "os": "linux",
        "config": {"Entrypoint": [program], "User": "65532:65532", "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [layer]},
    })
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn blob(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", hex::encode(Sha256::digest(bytes)))
}

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
}

fn named(mut descriptor: Value, name: &str) -> Value {
    descriptor["annotations"] = json!({"io.containerd.image.name": name});
    descriptor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_program_gives_the_same_digest() {
        let one = Image::of("registry.test/shop/app:1", b"program").expect("packed");
        let two = Image::of("registry.test/shop/app:2", b"program").expect("packed");
        let other = Image::of("registry.test/shop/app:1", b"programs").expect("packed");
        assert_eq!(one.reference(), two.reference());
        assert_ne!(one.digest(), other.digest());
        assert_eq!(one.tagged(), "registry.test/shop/app:1");
        assert!(one.reference().starts_with("registry.test/shop/app@sha256:"));
    }

    #[test]
    fn names_that_a_node_would_read_otherwise_are_refused() {
        for name in ["", "app", "shop/app", "Registry.test/app", "registry.test/app@sha256:00", "registry.test/a b"] {
            assert!(Image::of(name, b"").is_err(), "{name}");
        }
        let image = Image::of("localhost:5000/app", b"").expect("a port is no tag");
        assert_eq!(image.tagged(), "localhost:5000/app:latest");
    }
}
