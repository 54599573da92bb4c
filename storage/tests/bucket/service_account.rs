//! A service account of Google, as the console writes it, with a key that is made when it is needed for the first time: a key in
//! the repository, even one that opens nothing, alarms those who look for lost ones.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::rsa::KeyPair;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;
use tempfile::TempDir;

pub(crate) const EMAIL: &str = "hearth@tests.iam.gserviceaccount.com";

/// The private key as text, and both. ring makes no keys of this kind.
static KEY: LazyLock<(String, KeyPair)> = LazyLock::new(|| {
    let mut openssl = Command::new("openssl");
    openssl.args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let made = openssl.output().expect("openssl, which makes the key, can be started");
    assert!(made.status.success(), "{openssl:?}: {}", String::from_utf8_lossy(&made.stderr));
    let text = String::from_utf8(made.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("-----"));
    let pair = KeyPair::from_pkcs8(&BASE64_STANDARD.decode(lines.collect::<String>()).unwrap()).unwrap();
    (text, pair)
});

/// The account in a file of its own, which goes with it.
pub(crate) struct ServiceAccount(TempDir);

impl ServiceAccount {
    pub(crate) fn write() -> Self {
        let account = Self(tempfile::tempdir().unwrap());
        let content = serde_json::json!({
            "type": "service_account",
            "project_id": "tests",
            "private_key_id": "made-for-tests",
            "private_key": KEY.0,
            "client_email": EMAIL,
        });
        std::fs::write(account.file(), content.to_string()).unwrap();
        account
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.path().join("service_account.json")
    }
}

/// Whether the account signed a message.
pub(crate) fn has_signed(message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, KEY.1.public()).verify(message, signature).is_ok()
}
