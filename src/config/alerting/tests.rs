use crate::config::{Config, Credentials};
use std::path::Path;

/// The problem of a configuration whose `alerting` section is `text`.
fn problem(text: &str) -> (Option<(u64, u64)>, String) {
    let problem = Config::parse(&format!("alerting:\n{text}")).expect_err(text);
    (problem.place, problem.message)
}

#[test]
fn everything_that_prometheus_has_is_understood() {
    let config = Config::parse(
        "
alerting:
  alert_relabel_configs:
  - {regex: replica, action: labeldrop}
  alertmanagers:
  - scheme: https
    path_prefix: /am
    timeout: 5s
    api_version: v2
    follow_redirects: false
    enable_http2: false
    tls_config: {ca_file: ca.pem, cert_file: c.pem, key_file: k.pem, server_name: am, min_version: TLS12}
    authorization: {credentials_file: token}
    http_headers: {X-Scope: {values: [a], secrets: [b], files: [c]}}
    static_configs:
    - targets: ['a:9093', '[::1]:9093']
      labels: {zone: a}
    dns_sd_configs:
    - names: [_am._tcp.example.org]
    - {names: [am], type: A, port: 9093, refresh_interval: 10s}
    file_sd_configs:
    - files: ['targets/*.yml', /etc/am.json]
    http_sd_configs:
    - {url: 'http://sd/am', refresh_interval: 1m, basic_auth: {username: u, password_file: p}}
    relabel_configs:
    - source_labels: [__meta_filepath]
      regex: .*/old.yml
      action: drop
    alert_relabel_configs:
    - {source_labels: [severity], regex: info, action: Drop}
",
    )
    .unwrap();
    let group = &config.alerting.alertmanagers[0];
    assert!(matches!(group.http_client().credentials, Credentials::Header(_)));
    assert!(!group.http_client().follow_redirects && !group.enable_http2);
    let again = Config::parse(&config.to_yaml().replace("<secret>", "b")).unwrap();
    assert_eq!(again, config, "what is shown says the same");
}

#[test]
fn relative_files_are_those_beside_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hearth.yml");
    let text = "alerting: {alertmanagers: [{bearer_token_file: t, tls_config: {ca_file: ca}, file_sd_configs: [{files: [a.json]}]}]}";
    std::fs::write(&file, text).unwrap();
    let config = Config::load(&file).unwrap();
    let group = &config.alerting.alertmanagers[0];
    assert_eq!(group.tls_config.ca_file.as_deref(), Some(&*directory.path().join("ca")));
    assert_eq!(group.file_sd_configs[0].files, [directory.path().join("a.json")]);
    let Credentials::Header(header) = group.http_client().credentials else { panic!("a bearer token is a header") };
    assert_eq!(header.credentials_file.as_deref(), Some(&*directory.path().join("t")));
    let config = Config::load(Path::new(&file)).unwrap();
    assert_eq!(config.alerting.alertmanagers[0], *group);
}

/// Templates of configurations leave such keys behind, and Prometheus reads them as left out.
#[test]
fn an_empty_text_is_no_file_no_url_and_no_secret() {
    let group = |keys: &str| {
        let text = format!("alerting: {{alertmanagers: [{{static_configs: [{{targets: [a]}}], {keys}}}]}}");
        Config::parse(&text).unwrap_or_else(|problem| panic!("{keys}: {problem}")).alerting.alertmanagers.remove(0)
    };
    let none = group("");
    for keys in [
        "path_prefix: ",
        "proxy_url: ''",
        "proxy_url: ",
        "no_proxy: ",
        "bearer_token_file: ''",
        "bearer_token: ''",
        "tls_config: {ca_file: '', cert_file: '', key_file: '', ca: , cert: '', key: , server_name: , insecure_skip_verify: }",
    ] {
        assert_eq!(group(keys), none, "{keys}");
    }
    let pairs = [
        ("basic_auth: {username: u, password_file: '', password: }", "basic_auth: {username: u}"),
        ("authorization: {credentials: '', credentials_file: f}", "authorization: {credentials_file: f}"),
        ("tls_config: {cert: c, cert_file: '', key: k, key_file: ''}", "tls_config: {cert: c, key: k}"),
        (
            "oauth2: {client_id: i, client_secret: s, client_secret_file: '', token_url: 'http://t', proxy_url: ''}",
            "oauth2: {client_id: i, client_secret: s, token_url: 'http://t'}",
        ),
    ];
    for (keys, same) in pairs {
        assert_eq!(group(keys), group(same), "{keys}");
    }
}

#[test]
fn secrets_are_shown_as_such() {
    let text = "
alerting:
  alertmanagers:
  - {basic_auth: {username: u, password: hunter2}}
  - {authorization: {credentials: hunter2}, proxy_url: 'http://u:hunter2@proxy'}
  - {bearer_token: hunter2, tls_config: {cert: C, key: hunter2}}
  - {http_headers: {X-Key: {secrets: [hunter2]}}}
  - {oauth2: {client_id: i, client_secret: hunter2, token_url: 'http://t'}}
  - {http_sd_configs: [{url: 'http://h', basic_auth: {password: hunter2}}]}
";
    let config = Config::parse(text).unwrap();
    let printed = config.to_yaml();
    assert!(!printed.contains("hunter2"), "{printed}");
    assert_eq!(printed.matches("<secret>").count(), 7, "{printed}");
    assert!(printed.contains("http://u:xxxxx@proxy"), "{printed}");
    let debug = format!("{:?}", config.alerting.alertmanagers[0].basic_auth);
    assert!(!debug.contains("hunter2"), "{debug}");
}

#[test]
fn mistakes_have_a_place_and_a_reason() {
    // The section, the line of the mistake, a part of the reason.
    for (text, line, reason) in [
        ("  alertmanager: []\n", 2, "alertmanager"),
        ("  alertmanagers:\n  - static_config: []\n", 3, "static_config"),
        ("  alertmanagers:\n  - sigv4: {}\n", 3, "sigv4"),
        ("  alertmanagers:\n  - tls_config: {ca_fil: x}\n", 3, "ca_fil"),
        ("  alertmanagers:\n  - kubernetes_sd_configs: []\n", 3, "kubernetes_sd_configs"),
        ("  alertmanagers:\n  - scheme: http\n  - api_version: v1\n", 4, "to be one of [v2] but got v1"),
        ("  alertmanagers:\n  - timeout: 0s\n", 3, "timeout: must be greater than 0"),
        ("  alertmanagers:\n  - scheme: gopher\n", 3, "gopher"),
        ("  alertmanagers:\n  - static_configs: [{targets: ['http://a:1']}]\n", 3, "is not a valid hostname"),
        ("  alertmanagers:\n  - static_configs:\n    - targets: [a]\n      lables: {}\n", 5, "lables"),
        (
            "  alertmanagers:\n  - basic_auth: {password: a, password_file: b}\n",
            3,
            "at most one of basic_auth password",
        ),
        ("  alertmanagers:\n  - {basic_auth: {}, authorization: {}}\n", 3, "at most one of basic_auth, oauth2 & auth"),
        ("  alertmanagers:\n  - {bearer_token: a, bearer_token_file: b}\n", 3, "at most one of bearer_token &"),
        ("  alertmanagers:\n  - authorization: {type: Basic}\n", 3, "use \"basic_auth\" instead"),
        ("  alertmanagers:\n  - oauth2: {token_url: 'http://t'}\n", 3, "oauth2 client_id must be configured"),
        ("  alertmanagers:\n  - tls_config: {cert: a}\n", 3, "exactly one of key or key_file"),
        ("  alertmanagers:\n  - tls_config: {min_version: SSL3}\n", 3, "SSL3"),
        ("  alertmanagers:\n  - proxy_url: socks5://a\n", 3, "scheme \"socks5\" is not supported"),
        ("  alertmanagers:\n  - no_proxy: a\n", 3, "proxy_url must also be configured"),
        ("  alertmanagers:\n  - http_headers: {Host: {values: [a]}}\n", 3, "setting header \"Host\" is not allowed"),
        ("  alertmanagers:\n  - dns_sd_configs: [{type: A, names: [a]}]\n", 3, "a port is required in DNS-SD"),
        ("  alertmanagers:\n  - dns_sd_configs: [{type: TXT, names: [a]}]\n", 3, "invalid DNS-SD records type TXT"),
        ("  alertmanagers:\n  - dns_sd_configs: [{}]\n", 3, "must contain at least one SRV record name"),
        ("  alertmanagers:\n  - file_sd_configs: [{files: [a.txt]}]\n", 3, "path name \"a.txt\" is not valid"),
        ("  alertmanagers:\n  - file_sd_configs: [{files: ['*/a.json']}]\n", 3, "path name \"*/a.json\" is not valid"),
        ("  alertmanagers:\n  - http_sd_configs: [{url: 'ftp://a'}]\n", 3, "URL scheme must be 'http' or 'https'"),
        ("  alert_relabel_configs:\n  - action: move\n", 3, "unknown relabel action \"move\""),
        (
            "  alert_relabel_configs:\n  - regex: a\n  - regex: b\n    target_label: t\n",
            3,
            "requires 'target_label' value",
        ),
        ("  alert_relabel_configs:\n  - {target_label: a, regex: '('}\n", 3, "missing closing ): `(`"),
        ("  alert_relabel_configs:\n  -\n", 3, "empty or null relabeling rule"),
        ("  alertmanagers:\n  - relabel_configs: [{action: keep, sourcelabels: [a]}]\n", 3, "sourcelabels"),
    ] {
        let (place, message) = problem(text);
        assert!(message.contains(reason), "{text}: {message}");
        assert_eq!(place.map(|(line, _)| line), Some(line), "{text}: {message}");
    }
}
