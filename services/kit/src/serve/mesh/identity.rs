//! Certificate, key and authorities of this process, read again whenever the files change.
//!
//! Owns the change from one set to the next: whole, and without a dropped call. Refuses a set that does not fit together, and keeps
//! the last that did.
use std::{
    path::PathBuf,
    sync::{Arc, LazyLock, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    RootCertStore, SignatureScheme,
    client::ResolvesClientCert,
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};

use super::{MeshConfig, verify, wrong};
use crate::{error::Result, serve::Shutdown};

/// Between two looks at the files.
const LOOK_PERIOD: Duration = Duration::from_millis(500);

/// What the process shows and whom it believes.
pub(super) struct Identity {
    me: &'static str,
    trust_domain: String,
    certificate_file: PathBuf,
    key_file: PathBuf,
    authorities_file: PathBuf,
    now: RwLock<Arc<Material>>,
}

/// One set of files, checked.
pub(super) struct Material {
    key: Arc<CertifiedKey>,
    pub(super) roots: RootCertStore,
    pub(super) callers: Arc<dyn ClientCertVerifier>,
    digest: [u8; 32],
}

/// The cryptography of all TLS here.
static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

/// The same, to be kept.
pub(super) fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

impl Identity {
    /// Reads the files; the certificate must name `me`.
    pub(super) fn load(me: &'static str, config: &MeshConfig) -> Result<Self> {
        let files = [&config.certificate_file, &config.key_file, &config.authorities_file];
        let [certificate_file, key_file, authorities_file] = files.map(Clone::clone);
        let first = Material::read(me, &config.trust_domain, files)?;
        let (trust_domain, now) = (config.trust_domain.clone(), RwLock::new(Arc::new(first)));
        Ok(Self { me, trust_domain, certificate_file, key_file, authorities_file, now })
    }

    /// The domain that all ids are of.
    pub(super) fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// What holds now.
    pub(super) fn now(&self) -> Arc<Material> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn files(&self) -> [&PathBuf; 3] {
        [&self.certificate_file, &self.key_file, &self.authorities_file]
    }

    /// Takes over changed files; whether there were any.
    fn look(&self) -> Result<bool> {
        if digest(&contents(self.files())?) == self.now().digest {
            return Ok(false);
        }
        let next = Arc::new(Material::read(self.me, &self.trust_domain, self.files())?);
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(true)
    }
}

/// Looks at the files until `shutdown`; new connections use what is new, old ones end by age.
pub(super) async fn keep(identity: Arc<Identity>, shutdown: Shutdown) {
    let mut failing = 0_u32;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_PERIOD) => {}
            () = shutdown.wait() => return,
        }
        let looked = identity.clone();
        match tokio::task::spawn_blocking(move || looked.look()).await {
            Ok(Ok(changed)) => {
                failing = 0;
                if changed {
                    tracing::debug!("the certificate was replaced");
                }
            }
            // Files that are being replaced one by one do not fit together for a moment.
            Ok(Err(error)) => {
                failing += 1;
                if failing % 20 == 4 {
                    tracing::warn!(error = %error, "the certificate's files cannot be used; the last ones stay");
                }
            }
            Err(_) => return,
        }
    }
}

impl Material {
    fn read(me: &'static str, trust_domain: &str, files: [&PathBuf; 3]) -> Result<Self> {
        let contents = contents(files)?;
        let [certificates, key, authorities] = &contents;
        let [certificate_file, key_file, authorities_file] = files.map(|file| file.display().to_string());
        let chain = CertificateDer::pem_slice_iter(certificates)
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|e| wrong(&certificate_file, e))?;
        let first = chain.first().ok_or_else(|| wrong(&certificate_file, "holds no certificate"))?;
        let named = verify::service(first, trust_domain).map_err(|e| wrong(&certificate_file, e))?;
        if named != me {
            return Err(wrong(&certificate_file, format!("names {named}, and this is {me}")));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| wrong(&key_file, e))?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|e| wrong(&key_file, e))?;
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authorities) {
            let authority = authority.map_err(|e| wrong(&authorities_file, e))?;
            roots.add(authority).map_err(|e| wrong(&authorities_file, e))?;
        }
        let callers = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.clone()), provider())
            .build()
            .map_err(|e| wrong(&authorities_file, e))?;
        Ok(Self { key: Arc::new(key), roots, callers, digest: digest(&contents) })
    }
}

fn contents(files: [&PathBuf; 3]) -> Result<[Vec<u8>; 3]> {
    let mut all = [const { Vec::new() }; 3];
    for (at, file) in files.into_iter().enumerate() {
        all[at] = std::fs::read(file).map_err(|e| wrong(&file.display().to_string(), e))?;
    }
    Ok(all)
}

fn digest(contents: &[Vec<u8>; 3]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in contents {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("me", &self.me).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now().key.clone())
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.now().key.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
