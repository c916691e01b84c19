//! Certificates for a test: an authority, and certificates for 127.0.0.1 that it has signed.

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use std::path::{Path, PathBuf};

/// A certificate authority for one test.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The authority's certificate, as PEM.
    pub pem: String,
}

impl Authority {
    /// Creates an authority with a new key.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key can be generated");
        let mut params = CertificateParams::new(Vec::new()).expect("an empty list of names is valid");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("the certificate can be signed").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for 127.0.0.1, and its key, as PEM.
    pub fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().expect("a key can be generated");
        let mut params = CertificateParams::new(Vec::new()).expect("an empty list of names is valid");
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).expect("the certificate can be signed");
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes the authority's certificate, and a signed certificate with its key, into `folder`.
    pub fn write(&self, folder: &Path) -> [PathBuf; 3] {
        let (certificate, key) = self.sign();
        let files = ["ca.pem", "cert.pem", "key.pem"].map(|name| folder.join(name));
        for (file, text) in files.iter().zip([&self.pem, &certificate, &key]) {
            std::fs::write(file, text).expect("a file can be written");
        }
        files
    }
}
