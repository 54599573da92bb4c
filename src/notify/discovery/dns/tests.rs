use super::*;
use crate::config::PromDuration;
use dns_message::tests::{reply, srv};
use tokio::net::TcpListener;

fn config(names: &[&str], kind: &str, port: u16) -> DnsSdConfig {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    DnsSdConfig { names, kind: kind.into(), port, refresh_interval: PromDuration::from_secs(30) }
}

fn conf(server: SocketAddr, options: &str) -> ResolvConf {
    let mut conf = ResolvConf::parse(options);
    conf.servers = vec![server];
    conf
}

/// A server that answers over UDP as `script` says: flags and records, or nothing at all.
async fn udp_server(script: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            if let Some(answer) = script(&buffer[..length]) {
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    });
    address
}

fn addresses(groups: &[TargetGroup]) -> Vec<&str> {
    groups.iter().flat_map(|group| &group.targets).map(|target| target["__address__"].as_str()).collect()
}

#[tokio::test]
async fn srv_records_become_targets_with_their_ports() {
    let server = udp_server(|question| Some(reply(question, 0, &[(33, srv("a", 1)), (33, srv("b", 2))]))).await;
    let mut discovery = DnsDiscovery::with_conf(config(&["_am._tcp.x"], "srv", 0), conf(server, ""));
    let groups = discovery.refresh().await;
    assert_eq!(addresses(&groups), ["a:1", "b:2"]);
    let target = &groups[0].targets[0];
    for (name, value) in
        [("__meta_dns_name", "_am._tcp.x"), ("__meta_dns_srv_record_target", "a."), ("__meta_dns_srv_record_port", "1")]
    {
        assert_eq!(target[name], value, "{name}");
    }
}

#[tokio::test]
async fn a_name_is_tried_with_the_search_list() {
    let server = udp_server(|question| {
        let found = question.windows(7).any(|part| part == b"\x01b\x03org\x00");
        Some(reply(question, if found { 0 } else { 3 }, &[]))
    })
    .await;
    let names = conf(server, "search a.org b.org");
    assert_eq!(lookup(&names, "am", Kind::A).await, Ok(Vec::new()));
    assert_eq!(ask_any(&names, "am.b.org.", Kind::A).await.unwrap().code, ResponseCode::Success);
    assert_eq!(ask_any(&names, "am.a.org.", Kind::A).await.unwrap().code, ResponseCode::NoSuchName);
}

#[tokio::test]
async fn a_server_in_trouble_changes_nothing_and_a_name_that_ends_takes_its_targets_with_it() {
    let flags = std::sync::Arc::new(std::sync::atomic::AtomicU16::new(0));
    let script = flags.clone();
    let order = std::sync::atomic::Ordering::SeqCst;
    let server = udp_server(move |question| {
        let flags = script.load(order);
        let records = if flags == 0 { vec![(1, vec![127, 0, 0, 1])] } else { Vec::new() };
        Some(reply(question, flags, &records))
    })
    .await;
    let mut discovery = DnsDiscovery::with_conf(config(&["am"], "A", 9093), conf(server, ""));
    assert_eq!(addresses(&discovery.refresh().await), ["127.0.0.1:9093"]);
    flags.store(2, order); // server failure
    assert_eq!(addresses(&discovery.refresh().await), ["127.0.0.1:9093"]);
    flags.store(3, order); // no such name
    assert!(addresses(&discovery.refresh().await).is_empty());
    assert_eq!((discovery.stats().dns_lookups, discovery.stats().dns_lookup_failures), (3, 1));
}

#[tokio::test]
async fn what_is_too_long_for_udp_is_asked_for_again_over_tcp() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        socket.send_to(&reply(&buffer[..length], 0x0200, &[]), from).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let length = stream.read_u16().await.unwrap();
        let mut question = vec![0; usize::from(length)];
        stream.read_exact(&mut question).await.unwrap();
        let records: Vec<_> = (0..200).map(|i| (28, vec![i; 16])).collect();
        let answer = reply(&question, 0, &records);
        stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
        stream.write_all(&answer).await.unwrap();
    });
    let records = lookup(&conf(address, ""), "am.", Kind::Aaaa).await.unwrap();
    assert_eq!(records.len(), 200);
    assert_eq!(group("am", &records[1..2], 1).targets[0]["__address__"], "[101:101:101:101:101:101:101:101]:1");
}
