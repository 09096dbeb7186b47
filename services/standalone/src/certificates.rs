//! `slipway certificates`: an authority and one certificate per service, for services that run apart and have no authority yet.
//!
//! Owns the names of the files and the SPIFFE ids in the certificates (SAFE-23). Refuses to overwrite an authority: made again, only
//! the services' certificates are new, and a new authority is added to the old one until that is taken away.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use sha2::{Digest as _, Sha256};

use crate::layout::write_private;

/// Every program that takes part.
pub const SERVICES: [&str; 6] = ["gateway", "catalog", "environment", "secrets", "scaffolding", "metrics"];
/// File of the authorities whose certificates are accepted.
pub const AUTHORITIES: &str = "authorities.pem";
const AUTHORITY_KEY: &str = "authority-key.pem";
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Life of an authority, in days.
const AUTHORITY_DAYS: u32 = 3_650;
/// How far back certificates begin, so that clocks need not agree.
const EARLY: Duration = Duration::from_secs(3_600);

/// Options of `slipway certificates`.
#[derive(Args, Clone, Debug)]
pub struct Certificates {
    /// Directory of the files; made if missing, open to its owner alone.
    #[arg(long)]
    pub out: PathBuf,
    /// Trust domain of the SPIFFE ids, `spiffe://<trust domain>/slipway/<service>`.
    #[arg(long, default_value = "slipway.local")]
    pub trust_domain: String,
    /// Days that the services' certificates are valid.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=825))]
    pub days: u32,
    /// Makes a new authority too; the old one stays accepted until it is removed from the file of authorities.
    #[arg(long)]
    pub new_authority: bool,
}

/// Makes what is asked for, each file whole or not at all.
///
/// # Errors
/// When the directory cannot be written, or holds an authority without its key.
pub fn make(options: &Certificates) -> Result<()> {
    let out = options.out.as_path();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(out)?;
    let (authorities, key) = (out.join(AUTHORITIES), out.join(AUTHORITY_KEY));
    if authorities.exists() && !key.exists() {
        bail!(
            "{} is there and {} is not: who made it must make the certificates",
            authorities.display(),
            key.display()
        );
    }
    if options.new_authority || !authorities.exists() {
        let pair = KeyPair::generate()?;
        let own = authority(&pair)?.self_signed(&pair)?.pem();
        let old = fs::read_to_string(&authorities).unwrap_or_default();
        // The key first: an authority without it could sign nothing.
        write_private(&key, pair.serialize_pem().as_bytes())?;
        write_private(&authorities, format!("{own}{old}").as_bytes())?;
    }
    let pem = fs::read_to_string(&key).with_context(|| format!("cannot read {}", key.display()))?;
    let pair = KeyPair::from_pem(&pem).with_context(|| format!("{} is no key", key.display()))?;
    let issuer = Issuer::new(authority(&pair)?, pair);
    for service in SERVICES {
        let pair = KeyPair::generate()?;
        let certificate = leaf(service, options)?.signed_by(&pair, &issuer)?;
        write_private(&out.join(format!("{service}-key.pem")), pair.serialize_pem().as_bytes())?;
        write_private(&out.join(format!("{service}.pem")), certificate.pem().as_bytes())?;
    }
    Ok(())
}

/// What an authority is; its name holds the key's, so that two can stand beside each other.
fn authority(pair: &KeyPair) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    let name = &hex::encode(Sha256::digest(pair.public_key_raw()))[..16];
    params.distinguished_name.push(DnType::CommonName, format!("slipway authority {name}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = SystemTime::now();
    params.not_before = (now - EARLY).into();
    params.not_after = (now + DAY * AUTHORITY_DAYS).into();
    Ok(params)
}

fn leaf(service: &str, options: &Certificates) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    let id = format!("spiffe://{}/slipway/{service}", options.trust_domain);
    params.subject_alt_names.push(SanType::URI(Ia5String::try_from(id)?));
    params.distinguished_name.push(DnType::CommonName, format!("slipway {service}"));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let now = SystemTime::now();
    params.not_before = (now - EARLY).into();
    params.not_after = (now + DAY * options.days).into();
    Ok(params)
}
