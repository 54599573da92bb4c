//! moto's server, another implementation of S3, as a second opinion.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PACKAGE: &str = "moto[server]==5.2.5";

/// A running server; ends when dropped.
pub(crate) struct Moto {
    child: Child,
    port: u16,
}

impl Moto {
    /// Starts it with an empty bucket, installing it below the target directory first. `None` when that is not possible here;
    /// then the test says so, and fails where it must not be left out.
    pub(crate) async fn start() -> Option<Self> {
        match Self::try_start().await {
            Ok(server) => Some(server),
            Err(why) if std::env::var_os("CI").is_some() => panic!("moto cannot be used: {why}"),
            Err(why) => {
                // Not by the macro, whose output a passing test keeps to itself.
                let _ = writeln!(std::io::stderr(), "SKIPPED: moto cannot be used: {why}");
                None
            }
        }
    }

    async fn try_start() -> Result<Self, String> {
        let program = install()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.map_err(|error| error.to_string())?.port();
        let child = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let server = Self { child, port };
        server.create_bucket().await?;
        Ok(server)
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    async fn create_bucket(&self) -> Result<(), String> {
        storage::bucket::install_tls_provider();
        let client = reqwest::Client::new();
        let url = format!("{}/{}", self.endpoint(), super::BUCKET);
        let region = "<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint></CreateBucketConfiguration>";
        for _ in 0..300 {
            // It does not check signatures, but takes the region from them.
            let authorization = "AWS4-HMAC-SHA256 Credential=x/20260101/eu-central-1/s3/aws4_request";
            let answer = client.put(&url).header("authorization", authorization).body(region).send().await;
            match answer {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => return Err(format!("create the bucket: {}", answer.text().await.unwrap_or_default())),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        Err("it does not answer".into())
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program in a virtual environment, made once.
fn install() -> Result<PathBuf, String> {
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("moto");
    let program = environment.join("bin/moto_server");
    if program.exists() {
        return Ok(program);
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    let pip = environment.join("bin/pip");
    run(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check", PACKAGE]))?;
    Ok(program)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}
