//! Certificates for a test: an authority, and what it has signed for 127.0.0.1.

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use std::path::{Path, PathBuf};

/// An authority of its own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, as PEM.
    pub pem: String,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key can be drawn");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("it can be signed").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for 127.0.0.1, and its key, as PEM.
    pub fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().expect("a key can be drawn");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).expect("it can be signed");
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes the authority's certificate, and one that it signs with its key, into `folder`.
    pub fn write(&self, folder: &Path) -> [PathBuf; 3] {
        let (certificate, key) = self.sign();
        let files = ["ca.pem", "cert.pem", "key.pem"].map(|name| folder.join(name));
        for (file, text) in files.iter().zip([&self.pem, &certificate, &key]) {
            std::fs::write(file, text).expect("a file can be written");
        }
        files
    }
}
