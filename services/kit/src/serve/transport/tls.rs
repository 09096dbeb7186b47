//! TLS of a listener: our own acceptor, so that HTTP/1.1 works beside HTTP/2 (REL-13).
use std::{path::Path, sync::Arc};

use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use crate::error::{Error, Result};

/// A server's TLS settings from PEM files, offering `h2` and `http/1.1`.
pub fn server_config(certificates: &Path, key: &Path) -> Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|error| Error::internal(format!("{}: {error}", certificates.display())))?;
    let key =
        PrivateKeyDer::from_pem_file(key).map_err(|error| Error::internal(format!("{}: {error}", key.display())))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(Error::internal)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
