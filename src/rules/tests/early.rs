//! Alerts that follow what arrives, over the real store.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_that_is_evaluated_on_ingest_leaves_long_before_its_slot() {
    let world = World::new();
    let rule =
        "groups:\n- name: g\n  interval: 1d\n  rules:\n  - alert: Down\n    expr: up == 0\n    evaluate: on_ingest\n";
    world.start(rule).await;
    let leaves = async {
        while world.sent.0.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            world.write(&[("__name__", "up"), ("job", "a")], 0.0).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), leaves).await.expect("it leaves");
    let sent = world.sent.0.lock().unwrap().clone();
    assert_eq!(sent[0].labels.get("job"), Some("a"));
    assert!(!sent[0].resolved);
    world.stop().await;
}
