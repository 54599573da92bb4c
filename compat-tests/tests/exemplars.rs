//! Exemplars that a real Prometheus scrapes and sends: both then list the same.

use anyhow::{bail, ensure};
use compat_tests::api::Api;
use compat_tests::peer::Launch;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers every request with a page of one counter, whose exemplar is another one each time.
async fn serve(listener: TcpListener) -> std::io::Result<()> {
    for scrape in 1.. {
        let (mut stream, _) = listener.accept().await?;
        // Whatever is asked; the answer closes the connection.
        let _ = stream.read(&mut [0; 4096]).await?;
        let page = format!(
            "# TYPE requests counter\nrequests_total{{code=\"200\"}} {scrape} # {{trace_id=\"t-{scrape}\"}} 0.{scrape}\n# EOF\n"
        );
        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\
                    Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
        stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{page}", page.len()).as_bytes()).await?;
        stream.shutdown().await?;
    }
    Ok(())
}

#[tokio::test]
async fn exemplars_of_a_real_sender_are_listed_as_by_itself() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let target = listener.local_addr()?;
    let serving = tokio::spawn(serve(listener));
    let hearth = Launch::hearth(directory.path(), Some("self_scrape: {enabled: false}"), &[])?.start().await?;
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         scrape_configs: [{{job_name: traced, static_configs: [{{targets: ['{target}']}}]}}]\n\
         remote_write:\n\
         - {{url: '{}/api/v1/write', send_exemplars: true, queue_config: {{batch_send_deadline: 1s}}}}\n",
        hearth.url
    );
    let launch = Launch::prometheus(directory.path(), &config)?;
    let prometheus = launch.with_arguments(&["--enable-feature=exemplar-storage"]).start().await?;
    tokio::time::sleep(Duration::from_secs(8)).await;
    serving.abort();

    let (ours, theirs) = (Api::new(&hearth.url), Api::new(&prometheus.url));
    let parameters = [("query", "rate(requests_total[5m])"), ("start", "0"), ("end", "9999999999")];
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let expected = theirs.get("/api/v1/query_exemplars", &parameters).await?;
        let found = ours.get("/api/v1/query_exemplars", &parameters).await?;
        let count = expected[0]["exemplars"].as_array().map_or(0, Vec::len);
        ensure!(count >= 3, "Prometheus has only these: {expected}");
        if found == expected {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{found}, expected {expected}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
