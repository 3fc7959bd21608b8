//! What a server with TLS shows, and what its clients must know.

use std::os::unix::fs::PermissionsExt as _;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// A certificate for `127.0.0.1`, its key, and the authority that signed it, as PEM files.
#[derive(Debug)]
pub struct Certificates {
    directory: TempDir,
    paths: [String; 3],
}

impl Certificates {
    /// Makes them.
    ///
    /// # Panics
    /// When they cannot be made or written.
    #[must_use]
    pub fn make() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let key = || KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::new(Vec::new()).expect("an authority");
        // OpenSSL takes a certificate that has its issuer's name for one that signs itself.
        authority.distinguished_name.push(DnType::CommonName, "Firstcome's test authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, key()).expect("a signed authority");
        let own_key = key();
        let mut own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a certificate");
        // With its authority's name it would seem to be signed by itself.
        own.distinguished_name.push(DnType::CommonName, "a server");
        let own = own.signed_by(&own_key, &authority).expect("a signed certificate");
        let files = [
            ("ca.pem", authority.pem()),
            ("server.pem", own.pem()),
            ("server.key", own_key.serialize_pem()),
        ];
        let paths = files.map(|(name, text)| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("a file for a certificate");
            // PostgreSQL refuses a key that others may read.
            let own = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&path, own).expect("a file of one user's own");
            path.to_str().expect("a path in UTF-8").to_owned()
        });
        Self { directory, paths }
    }

    /// The files: of the authority's certificate, the certificate, and its key.
    #[must_use]
    pub fn paths(&self) -> (&str, &str, &str) {
        let [authority, certificate, key] = &self.paths;
        assert!(self.directory.path().exists(), "the files live as long as this");
        (authority, certificate, key)
    }
}
