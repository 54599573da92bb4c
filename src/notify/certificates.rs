//! Keys and certificates of tests, made when they are needed for the first time: a key in the repository, even one that opens
//! nothing, alarms those who look for lost ones.

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

/// A certificate with its private key, both as PEM.
pub(super) struct Identity {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// An authority, and whom it knows.
pub(super) struct Certificates {
    pub(super) authority: String,
    /// A server of the name `alertmanager.test`.
    pub(super) server: Identity,
    pub(super) client: Identity,
}

/// The same for all tests of a process.
pub(super) static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let make = |name: &str, extensions: &[&str]| make(directory.path(), name, extensions);
    let authority = make("ca", &[]).certificate;
    let issued = |name, usage: &str| {
        let names = format!("subjectAltName=DNS:{name}.test");
        let signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"];
        make(name, &[&signed[..], &["-addext", &names, "-addext", usage]].concat())
    };
    let server = issued("alertmanager", "extendedKeyUsage=serverAuth");
    Certificates { authority, server, client: issued("client", "extendedKeyUsage=clientAuth") }
});

/// Makes `name.pem` and `name.key`.
fn make(directory: &Path, name: &str, extensions: &[&str]) -> Identity {
    let (certificate, key, subject) = (format!("{name}.pem"), format!("{name}.key"), format!("/CN={name}"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    openssl.args(["-subj", &subject, "-keyout", &key, "-out", &certificate]).args(extensions).current_dir(directory);
    let made = openssl.output().expect("openssl, which makes keys, can be started");
    assert!(made.status.success(), "{openssl:?}: {}", String::from_utf8_lossy(&made.stderr));
    let read = |file| std::fs::read_to_string(directory.join(file)).unwrap();
    Identity { certificate: read(certificate), key: read(key) }
}
