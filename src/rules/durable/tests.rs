use super::*;
use crate::config::Config;
use crate::notify::NotifierOptions;
use model::labels::Labels;
use ruler::alert_instance::{AlertInstance, AlertState};
use ruler::state::Change;
use ruler::state::RuleId;
use ruler::state::shape::{GroupShape, RuleShape};

/// A port where nobody listens.
const TARGET: &str = "http://127.0.0.1:1/api/v2/alerts";

fn desk(directory: &Path) -> AlertDesk {
    let store = AlertStore::open(directory, None).unwrap();
    let options = NotifierOptions { queue_capacity: 10, queue_bytes_max: 1 << 20, batch_max: 10, drain: false };
    let notifier = Notifier::new(options, Arc::new(store.clone()));
    let text = "alerting: {alertmanagers: [{static_configs: [{targets: ['127.0.0.1:1']}]}]}";
    notifier.apply(&Config::parse(text).unwrap().alerting, Labels::empty(), "http://h");
    AlertDesk::new(store, notifier)
}

fn fires(rule: &Arc<RuleId>) -> Departure {
    let at = Timestamp(wall_clock().0);
    let mut instance = AlertInstance::new(at, 1.0, [].into());
    instance.state = AlertState::Firing { fired_at: at, keep_firing_since: None };
    let labels = Labels::from_pairs([("alertname", "A")]).unwrap();
    let change = Change { labels, instance: Some(instance), leaves_until: Some(Timestamp(at.0 + 240_000)) };
    Departure { rule: rule.clone(), expr: "up".into(), slot: at, last_good: Some(at), changes: vec![change] }
}

#[tokio::test]
async fn what_a_process_knew_and_could_not_deliver_is_there_in_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("alerts");
    let group = Arc::new(GroupId { file: "r.yml".into(), name: "g".into() });
    let rule = Arc::new(RuleId { group: group.clone(), name: "A".into(), labels: [].into(), nth: 0 });
    let first = desk(&path);
    first.send(fires(&rule)).await;
    first.evaluated(&group, Timestamp(5));
    assert_eq!(first.notifier.stats()[0].queue.waiting, 1);
    assert!(!first.store.stats().failing);
    first.notifier.shutdown().await;
    first.store.close();

    let second = desk(&path);
    assert_eq!(second.store.waiting(TARGET).len(), 1);
    assert_eq!(second.notifier.stats()[0].queue.waiting, 1, "it is tried again");
    let rules = vec![RuleShape { id: rule.clone(), is_alerting: true, digest: 1 }];
    let memory = second.begin(GroupShape { id: group, interval_ms: 1, query_offset_ms: 0, rules });
    assert_eq!((memory.last_slot, memory.rules[&rule].alerts.len()), (Some(Timestamp(5)), 1));
    second.notifier.shutdown().await;
    second.store.close();
}
