//! Whether a certificate is that of a service: signed by our authorities, and naming it by exactly one SPIFFE id (SAFE-23).
//!
//! Refuses common names, several URIs, other trust domains, authorities shown as services, and keys not meant for signing. The
//! format of an id is that of the X.509-SVID standard of SPIFFE.
use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::{danger, verify_server_cert_signed_by_trust_anchor},
    crypto::verify_tls13_signature,
    server::{ParsedCertificate, danger as server_danger},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

use super::identity::{Identity, provider};

/// The service that a certificate names.
pub(super) fn service(certificate: &CertificateDer<'_>, trust_domain: &str) -> Result<String, &'static str> {
    let (rest, parsed) = X509Certificate::from_der(certificate).map_err(|_| "is no certificate")?;
    if !rest.is_empty() {
        return Err("has something after the certificate");
    }
    if parsed.is_ca() {
        return Err("is an authority's certificate, not a service's");
    }
    let usage = parsed.key_usage().map_err(|_| "has a damaged key usage")?;
    if usage.is_some_and(|usage| !usage.value.digital_signature()) {
        return Err("has a key that is not for signatures");
    }
    let names = parsed.subject_alternative_name().map_err(|_| "has damaged names")?.ok_or("has no SPIFFE id")?;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let (Some(uri), None) = (uris.next(), uris.next()) else { return Err("must have exactly one URI") };
    let path = uri.strip_prefix("spiffe://").and_then(|rest| rest.strip_prefix(trust_domain));
    let name = path.and_then(|path| path.strip_prefix("/slipway/")).ok_or("names nothing of this trust domain")?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || !name.bytes().all(plain) {
        return Err("names no service");
    }
    Ok(name.to_owned())
}

/// Checks the certificate of a service that is called.
#[derive(Debug)]
pub(super) struct Callee {
    pub(super) identity: Arc<Identity>,
    pub(super) service: &'static str,
}

/// Checks the certificate of whoever calls; which service it is, the connection is asked later.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) identity: Arc<Identity>,
}

fn refused(why: &'static str) -> Error {
    tracing::warn!(why, "a peer's certificate was refused");
    Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
}

impl danger::ServerCertVerifier for Callee {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<danger::ServerCertVerified, Error> {
        let algorithms = provider().signature_verification_algorithms.all;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let roots = &self.identity.now().roots;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)?;
        let named = service(end_entity, self.identity.trust_domain()).map_err(refused)?;
        if named == self.service {
            Ok(danger::ServerCertVerified::assertion())
        } else {
            Err(refused("another service"))
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<danger::HandshakeSignatureValid, Error> {
        Err(refused("TLS 1.2"))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<danger::HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl server_danger::ClientCertVerifier for Caller {
    /// Nobody is told which authorities we believe.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<server_danger::ClientCertVerified, Error> {
        let verified = self.identity.now().callers.verify_client_cert(end_entity, intermediates, now)?;
        service(end_entity, self.identity.trust_domain()).map_err(refused)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<danger::HandshakeSignatureValid, Error> {
        Err(refused("TLS 1.2"))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<danger::HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
