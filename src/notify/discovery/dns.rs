//! Targets by the records of names.

use super::Counters;
use super::dns_message::{self, Answer, Kind, Record, ResponseCode, TCP_BYTES_MAX, UDP_BYTES};
use super::resolv_conf::ResolvConf;
use crate::config::DnsSdConfig;
use crate::notify::resolve::TargetGroup;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What is known of each name.
pub(super) struct DnsDiscovery {
    config: DnsSdConfig,
    kind: Kind,
    found: BTreeMap<String, TargetGroup>,
    counters: Arc<Counters>,
    /// In place of the system's.
    conf: Option<ResolvConf>,
}

impl DnsDiscovery {
    pub(super) fn new(config: DnsSdConfig, counters: Arc<Counters>) -> Self {
        let kind = Kind::from_name(&config.kind).unwrap_or(Kind::Srv);
        Self { config, kind, found: BTreeMap::new(), counters, conf: None }
    }

    #[cfg(test)]
    pub(super) fn stats(&self) -> super::DiscoveryStats {
        self.counters.stats()
    }

    #[cfg(test)]
    pub(super) fn with_conf(config: DnsSdConfig, conf: ResolvConf) -> Self {
        Self { conf: Some(conf), ..Self::new(config, Arc::default()) }
    }

    /// Asks for all names; one that nobody could answer for keeps the targets that it had.
    pub(super) async fn refresh(&mut self) -> Vec<TargetGroup> {
        let conf = match &self.conf {
            Some(conf) => Ok(conf.clone()),
            None => super::read_text(Path::new(RESOLV_CONF)).await.map(|text| ResolvConf::parse(&text)),
        };
        let conf = match conf {
            Ok(conf) => conf,
            Err(problem) => {
                for _ in &self.config.names {
                    self.counters.looked_up();
                    self.counters.lookup_failed();
                }
                tracing::warn!(problem, "Alertmanagers cannot be looked up; those found before stay");
                return self.groups();
            }
        };
        let lookups = self.config.names.iter().map(|name| lookup(&conf, name, self.kind));
        for (name, outcome) in self.config.names.iter().zip(futures::future::join_all(lookups).await) {
            self.counters.looked_up();
            match outcome {
                Ok(records) => {
                    self.found.insert(name.clone(), group(name, &records, self.config.port));
                }
                Err(problem) => {
                    self.counters.lookup_failed();
                    tracing::warn!(name, problem, "Alertmanagers cannot be looked up; those found before stay");
                }
            }
        }
        self.groups()
    }

    fn groups(&self) -> Vec<TargetGroup> {
        self.found.values().cloned().collect()
    }
}

fn group(name: &str, records: &[Record], port: u16) -> TargetGroup {
    let targets = records.iter().map(|record| {
        let (address, meta) = match record {
            Record::A(ip) => (format!("{ip}:{port}"), Vec::new()),
            Record::Aaaa(ip) => (format!("[{ip}]:{port}"), Vec::new()),
            Record::Ns(target) => (at(target, port), vec![("__meta_dns_ns_record_target", target.clone())]),
            Record::Mx(target) => (at(target, port), vec![("__meta_dns_mx_record_target", target.clone())]),
            Record::Srv { target, port } => {
                let meta = [("target", target.clone()), ("port", port.to_string())];
                let named = |(what, value)| match what {
                    "target" => ("__meta_dns_srv_record_target", value),
                    _ => ("__meta_dns_srv_record_port", value),
                };
                (at(target, *port), meta.map(named).to_vec())
            }
        };
        let own = [("__address__", address), ("__meta_dns_name", name.to_owned())];
        own.into_iter().chain(meta).map(|(name, value)| (name.to_owned(), value)).collect()
    });
    TargetGroup { targets: targets.collect(), labels: BTreeMap::new() }
}

fn at(target: &str, port: u16) -> String {
    format!("{}:{port}", target.trim_end_matches('.'))
}

/// The records of `name`, or of the first of its longer forms that exists. No records if the servers agree that there is no
/// such name.
async fn lookup(conf: &ResolvConf, name: &str, kind: Kind) -> Result<Vec<Record>, String> {
    let mut failed = None;
    for name in conf.names(name) {
        match ask_any(conf, &name, kind).await {
            Ok(Answer { code: ResponseCode::Success, records, .. }) => return Ok(records),
            Ok(_) => {}
            Err(problem) => failed = Some(problem),
        }
    }
    match failed {
        None => Ok(Vec::new()),
        Some(problem) => Err(problem),
    }
}

/// The first answer that says whether `name` exists.
async fn ask_any(conf: &ResolvConf, name: &str, kind: Kind) -> Result<Answer, String> {
    let mut problem = String::new();
    for server in conf.servers.iter().cycle().take(conf.servers.len() * conf.attempts) {
        problem = match ask(*server, name, kind, conf.timeout).await {
            Ok(answer) => match answer.code {
                ResponseCode::Success | ResponseCode::NoSuchName => return Ok(answer),
                ResponseCode::Other(code) => format!("{name}: {server}: response code {code}"),
            },
            Err(problem) => format!("{name}: {server}: {problem}"),
        };
    }
    Err(problem)
}

async fn ask(server: SocketAddr, name: &str, kind: Kind, timeout: Duration) -> Result<Answer, String> {
    let late = |_| format!("no answer within {timeout:?}");
    let id = rand_id();
    let question = dns_message::question(id, name, kind, true).map_err(|error| error.to_string())?;
    let answer = tokio::time::timeout(timeout, over_udp(server, &question)).await.map_err(late)?;
    let answer = answer.map_err(|error| error.to_string())?;
    if !answer.truncated {
        return Ok(answer);
    }
    let question = dns_message::question(id, name, kind, false).map_err(|error| error.to_string())?;
    tokio::time::timeout(timeout, over_tcp(server, &question)).await.map_err(late)?.map_err(|error| error.to_string())
}

async fn over_udp(server: SocketAddr, question: &[u8]) -> std::io::Result<Answer> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; usize::from(UDP_BYTES)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What is not an answer to our question may be somebody's attempt to be faster than the server.
        if let Ok(answer) = dns_message::answer(question, buffer.get(..length).unwrap_or_default()) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let length = usize::from(stream.read_u16().await?).min(TCP_BYTES_MAX);
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    dns_message::answer(question, &message).map_err(std::io::Error::other)
}

/// Hard to guess for who would like to answer in place of the server.
fn rand_id() -> u16 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(std::time::Instant::now()) & 0xffff) as u16
}

#[cfg(test)]
mod tests;
