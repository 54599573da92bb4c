//! Server processes under test: start them on free ports of the loopback address, watch what they cost, stop or kill them.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// What it is called in reports.
    pub name: &'static str,
    /// `http://127.0.0.1:port`
    pub url: String,
    child: Child,
}

/// How to start a server; starting twice uses the same data.
#[derive(Debug, Clone)]
pub struct Launch {
    /// What it is called in reports.
    pub name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    url: String,
    ready_path: &'static str,
    log: PathBuf,
}

/// The `hearth` binary: `HEARTH_BIN`, or the one that cargo built beside this program.
///
/// # Errors
/// There is none.
pub fn hearth_binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("HEARTH_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let mut directories = own.ancestors().skip(1).take(2);
    directories
        .find_map(|directory| Some(directory.join("hearth")).filter(|path| path.is_file()))
        .context("no `hearth` beside this program: run `cargo build` first, or set HEARTH_BIN")
}

/// A port of the loopback address that was free a moment ago.
///
/// # Errors
/// None is free.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Launch {
    /// Hearth with data below `directory`; `config` is the text of its file.
    ///
    /// # Errors
    /// No binary, no free port, or the directory cannot be written.
    pub fn hearth(directory: &Path, config: Option<&str>, more: &[&str]) -> anyhow::Result<Self> {
        let port = free_port()?;
        let mut arguments = vec![
            format!("--web.listen-address=127.0.0.1:{port}"),
            format!("--storage.path={}", directory.join("data").display()),
        ];
        if let Some(text) = config {
            let file = directory.join("hearth.yml");
            std::fs::write(&file, text)?;
            arguments.push(format!("--config.file={}", file.display()));
        }
        arguments.extend(more.iter().map(ToString::to_string));
        Ok(Self::new("Hearth", hearth_binary()?, arguments, port, "/-/ready", directory))
    }

    /// Debian's Prometheus as a remote-write receiver; `config` is the text of its file.
    ///
    /// # Errors
    /// No free port, or the directory cannot be written.
    pub fn prometheus(directory: &Path, config: &str) -> anyhow::Result<Self> {
        let port = free_port()?;
        let file = directory.join("prometheus.yml");
        std::fs::write(&file, config)?;
        let arguments = vec![
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", directory.join("prometheus").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--web.enable-remote-write-receiver".into(),
            "--storage.tsdb.retention.time=100y".into(),
            "--log.level=warn".into(),
        ];
        Ok(Self::new("Prometheus", "/usr/bin/prometheus".into(), arguments, port, "/-/ready", directory))
    }

    /// Debian's VictoriaMetrics.
    ///
    /// # Errors
    /// No free port.
    pub fn victoria_metrics(directory: &Path) -> anyhow::Result<Self> {
        let port = free_port()?;
        let arguments = vec![
            format!("-httpListenAddr=127.0.0.1:{port}"),
            format!("-storageDataPath={}", directory.join("victoria").display()),
            "-retentionPeriod=100y".into(),
            "-loggerLevel=WARN".into(),
        ];
        Ok(Self::new("VictoriaMetrics", "/usr/bin/victoria-metrics".into(), arguments, port, "/health", directory))
    }

    /// Debian's Alertmanager; `config` is the text of its file.
    ///
    /// # Errors
    /// No free port, or the directory cannot be written.
    pub fn alertmanager(directory: &Path, config: &str) -> anyhow::Result<Self> {
        let port = free_port()?;
        let file = directory.join("alertmanager.yml");
        std::fs::write(&file, config)?;
        let arguments = vec![
            format!("--config.file={}", file.display()),
            format!("--storage.path={}", directory.join("alertmanager").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--cluster.listen-address=".into(),
        ];
        let program = "/usr/bin/prometheus-alertmanager".into();
        Ok(Self::new("Alertmanager", program, arguments, port, "/-/ready", directory))
    }

    /// Debian's node exporter.
    ///
    /// # Errors
    /// No free port.
    pub fn node_exporter(directory: &Path) -> anyhow::Result<Self> {
        let port = free_port()?;
        let arguments = vec![format!("--web.listen-address=127.0.0.1:{port}")];
        let program = "/usr/bin/prometheus-node-exporter".into();
        Ok(Self::new("node exporter", program, arguments, port, "/", directory))
    }

    fn new(
        name: &'static str,
        program: PathBuf,
        arguments: Vec<String>,
        port: u16,
        ready_path: &'static str,
        directory: &Path,
    ) -> Self {
        let log = directory.join(format!("{}.log", name.replace(' ', "-").to_lowercase()));
        Self { name, program, arguments, url: format!("http://127.0.0.1:{port}"), ready_path, log }
    }

    /// The same with more arguments.
    #[must_use]
    pub fn with_arguments(mut self, more: &[&str]) -> Self {
        self.arguments.extend(more.iter().map(ToString::to_string));
        self
    }

    /// `http://127.0.0.1:port` of the server that [`Launch::start`] starts.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Starts the process without waiting for it.
    ///
    /// # Errors
    /// The program is not installed.
    pub fn spawn(&self) -> anyhow::Result<Server> {
        let log = std::fs::File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        Ok(Server { name: self.name, url: self.url.clone(), child })
    }

    /// Starts the process and waits until it is ready, at most a minute.
    ///
    /// # Errors
    /// The program is not installed, ends, or does not become ready.
    pub async fn start(&self) -> anyhow::Result<Server> {
        let mut server = self.spawn()?;
        let client = reqwest::Client::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = client.get(format!("{}{}", self.url, self.ready_path)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                bail!("{} ended with {status}; its log:\n{}", self.name, self.log_tail());
            }
            if Instant::now() > deadline {
                bail!("{} is not ready after a minute; its log:\n{}", self.name, self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The end of what the process wrote.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n")
    }
}

impl Server {
    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// User and system CPU seconds so far.
    #[must_use]
    pub fn cpu_seconds(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: f64 =
            after_name.split_ascii_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
        ticks / 100.0
    }

    /// Resident memory now and at its peak, in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> (u64, u64) {
        (self.status_bytes("VmRSS:"), self.status_bytes("VmHWM:"))
    }

    /// Makes the peak of [`Server::resident_bytes`] begin anew at what is resident now.
    ///
    /// # Errors
    /// The system does not allow it.
    pub fn reset_peak(&self) -> std::io::Result<()> {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5")
    }

    /// Resident memory that is no mapped file, in bytes: what the system cannot take back.
    #[must_use]
    pub fn anonymous_bytes(&self) -> u64 {
        self.status_bytes("RssAnon:")
    }

    fn status_bytes(&self, field: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        line.split_ascii_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Ends the process as an operator does and returns whether it left with code 0.
    ///
    /// # Errors
    /// The signal cannot be sent, or the process does not end within a minute.
    pub fn terminate(mut self) -> anyhow::Result<bool> {
        Command::new("kill").arg(self.pid().to_string()).status()?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.success());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("{} does not end", self.name)
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// The process cannot be killed.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends a signal by name, such as `HUP`.
    ///
    /// # Errors
    /// It cannot be sent.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status()?;
        if !status.success() {
            bail!("kill -{name} failed");
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes of all files below a directory, as they are allocated on disk.
#[must_use]
pub fn disk_bytes(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let of_entry = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(of_entry).sum()
}
