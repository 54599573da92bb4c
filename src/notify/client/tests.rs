use super::*;
use crate::config::{Config, HttpClientConfig};
use crate::notify::certificates::CERTIFICATES;
use crate::notify::testing::{Mood, Received, Receiver};
use std::path::Path;

fn config(keys: &str, directory: &Path) -> HttpClientConfig {
    let file = directory.join("hearth.yml");
    std::fs::write(&file, format!("alerting: {{alertmanagers: [{{{keys}}}]}}")).unwrap();
    Config::load(&file).unwrap().alerting.alertmanagers[0].http_client()
}

async fn ask(client: &HttpClient, url: &str) -> Result<StatusCode, String> {
    let request = client.request(Method::POST, url).await?.timeout(std::time::Duration::from_secs(5));
    let answer = request.body("x").send().await.map_err(|error| with_causes(&error))?;
    client.note(answer.status()).await;
    Ok(answer.status())
}

/// What a receiver got from a client of these settings.
async fn received(keys: &str) -> Received {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("secret"), " hunter2\n").unwrap();
    let receiver = Receiver::start(Mood::Good).await;
    let client = HttpClient::new(config(keys, directory.path()));
    ask(&client, &format!("http://{}/x", receiver.address)).await.unwrap();
    receiver.received().remove(0)
}

#[tokio::test]
async fn credentials_and_headers_are_sent() {
    let basic = Some("Basic dTpodW50ZXIy");
    for (keys, expected) in [
        ("", None),
        ("basic_auth: {username: u, password: hunter2}", basic),
        ("basic_auth: {username: u, password_file: secret}", basic),
        ("authorization: {credentials: hunter2}", Some("Bearer hunter2")),
        ("authorization: {type: Token, credentials_file: secret}", Some("Token hunter2")),
        ("bearer_token_file: secret", Some("Bearer hunter2")),
    ] {
        assert_eq!(received(keys).await.header("authorization"), expected, "{keys}");
    }
    let request = received("http_headers: {X-A: {values: [v], secrets: [w], files: [secret]}}").await;
    let values: Vec<_> = request.headers.iter().filter_map(|header| header.strip_prefix("x-a: ")).collect();
    assert_eq!(values, ["v", "w", "hunter2"]);
    assert!(request.header("user-agent").unwrap().starts_with("Hearth/"));
}

#[tokio::test]
async fn a_file_that_is_not_there_fails_the_request_until_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(Mood::Good).await;
    let url = format!("http://{}/", receiver.address);
    let client = HttpClient::new(config("authorization: {credentials_file: token}", directory.path()));
    assert!(ask(&client, &url).await.unwrap_err().contains("token"), "the reason names the file");
    for token in ["one", "two"] {
        std::fs::write(directory.path().join("token"), token).unwrap();
        assert!(ask(&client, &url).await.is_ok());
        let expected = format!("Bearer {token}");
        assert_eq!(receiver.received().last().unwrap().header("authorization"), Some(expected.as_str()));
    }
}

#[tokio::test]
async fn the_other_side_must_prove_the_name_that_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.pem"), &CERTIFICATES.authority).unwrap();
    let receiver = Receiver::start_tls(Mood::Good, false).await;
    let url = format!("https://{}/", receiver.address);
    for (keys, good) in [
        ("", false),
        ("tls_config: {insecure_skip_verify: true}", true),
        ("tls_config: {ca_file: ca.pem}", false),
        ("tls_config: {ca_file: ca.pem, server_name: other.test}", false),
        ("tls_config: {ca_file: ca.pem, server_name: alertmanager.test}", true),
        ("tls_config: {ca_file: ca.pem, server_name: alertmanager.test, min_version: TLS13}", true),
        ("tls_config: {ca_file: ca.pem, server_name: alertmanager.test, max_version: TLS12}", true),
    ] {
        let client = HttpClient::new(config(keys, directory.path()));
        let outcome = ask(&client, &url).await;
        assert_eq!(outcome.is_ok(), good, "{keys}: {outcome:?}");
    }
    let request = receiver.received().pop().unwrap();
    assert_eq!(request.header("host"), Some(receiver.address.as_str()), "called by its address all the same");
}

#[tokio::test]
async fn a_client_shows_its_certificate_and_takes_a_new_one_without_a_reload() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("ca.pem", &CERTIFICATES.authority);
    write("c.pem", "");
    write("k.pem", &CERTIFICATES.client.key);
    let receiver = Receiver::start_tls(Mood::Good, true).await;
    let url = format!("https://{}/", receiver.address);
    let keys = "tls_config: {ca_file: ca.pem, cert_file: c.pem, key_file: k.pem, server_name: alertmanager.test}";
    let client = HttpClient::new(config(keys, directory.path()));
    assert!(ask(&client, &url).await.is_err());
    write("c.pem", &CERTIFICATES.client.certificate);
    assert_eq!(ask(&client, &url).await, Ok(StatusCode::OK));
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_again_when_it_was_refused() {
    let directory = tempfile::tempdir().unwrap();
    let tokens = Receiver::answering(r#"{"access_token": "t", "token_type": "bearer", "expires_in": 3600}"#).await;
    let receiver = Receiver::start(Mood::Good).await;
    let keys = format!(
        "oauth2: {{client_id: 'i d', client_secret: s, scopes: [a, b], token_url: 'http://{}/token', endpoint_params: {{p: q}}}}",
        tokens.address
    );
    let client = HttpClient::new(config(&keys, directory.path()));
    let url = format!("http://{}/", receiver.address);
    for _ in 0..2 {
        ask(&client, &url).await.unwrap();
    }
    assert_eq!(receiver.received()[1].header("authorization"), Some("Bearer t"));
    let question = tokens.received();
    assert_eq!(question.len(), 1);
    assert_eq!(String::from_utf8_lossy(&question[0].body), "grant_type=client_credentials&scope=a+b&p=q");
    assert_eq!(question[0].header("authorization"), Some("Basic aStkOnM="));
    receiver.set(Mood::Says("401 Unauthorized"));
    ask(&client, &url).await.unwrap();
    receiver.set(Mood::Good);
    ask(&client, &url).await.unwrap();
    assert_eq!(tokens.received().len(), 2);
}

#[tokio::test]
async fn requests_go_through_the_proxy_but_for_the_exceptions() {
    let directory = tempfile::tempdir().unwrap();
    let (proxy, direct) = (Receiver::start(Mood::Good).await, Receiver::start(Mood::Good).await);
    let keys = format!("proxy_url: 'http://{}', no_proxy: '127.0.0.1'", proxy.address);
    let client = HttpClient::new(config(&keys, directory.path()));
    ask(&client, "http://alertmanager.test/x").await.unwrap();
    ask(&client, &format!("http://{}/y", direct.address)).await.unwrap();
    assert_eq!(proxy.received()[0].line, "POST http://alertmanager.test/x HTTP/1.1");
    assert_eq!(direct.received()[0].line, "POST /y HTTP/1.1");
}

/// Whoever keeps a list may say that it is elsewhere; deliveries are another matter.
#[tokio::test]
async fn a_question_follows_every_redirect_unless_none_is_to_be_followed() {
    let directory = tempfile::tempdir().unwrap();
    let target = Receiver::start(Mood::Good).await;
    let lines = format!("302 Found\r\nLocation: http://{}/moved", target.address).leak();
    let receiver = Receiver::start(Mood::Says(lines)).await;
    for (keys, expected) in [("follow_redirects: false", StatusCode::FOUND), ("", StatusCode::OK)] {
        let client = HttpClient::for_questions(config(keys, directory.path()));
        let url = format!("http://{}/", receiver.address);
        let answer = client.request(Method::GET, &url).await.unwrap().send().await.unwrap();
        assert_eq!(answer.status(), expected, "{keys}");
    }
    let lines: Vec<_> = target.received().into_iter().map(|request| request.line).collect();
    assert_eq!(lines, ["GET /moved HTTP/1.1"]);
}
