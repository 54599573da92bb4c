//! The history on a real file system.

use super::*;
use model::labels::Labels;
use model::time::Timestamp;
use promql::parse::{ParseOptions, parse_selector};
use ruler::state::GroupId;
use ruler::transition::{Cause, Phase};
use std::collections::BTreeMap;

const OPTIONS: RecordLogOptions = RecordLogOptions { bytes_max: 1 << 20, keep_ms: i64::MAX };

fn rule(name: &str) -> Arc<RuleId> {
    let group = Arc::new(GroupId { file: "r.yml".into(), name: "g".into() });
    Arc::new(RuleId { group, name: name.into(), labels: BTreeMap::from([("sev".into(), "page".into())]), nth: 0 })
}

fn fires(name: &str, job: &str, slot_ms: i64) -> Happening {
    let transition = Transition {
        labels: Labels::from_pairs([("alertname", name), ("job", job)]).unwrap(),
        annotations: Arc::from([(Arc::from("summary"), Arc::from("it is down"))]),
        value: f64::INFINITY,
        active_at: Timestamp(slot_ms - 60_000),
        from: Phase::Pending,
        to: Phase::Firing,
        cause: Cause::Held,
    };
    Happening { rule: rule(name), slot_ms, what: What::Alerts(Arc::from([transition])) }
}

fn search() -> HistorySearch {
    HistorySearch {
        times: i64::MIN..=i64::MAX,
        selectors: Vec::new(),
        rules: Vec::new(),
        groups: Vec::new(),
        states: Vec::new(),
        limit: 10,
        before: None,
    }
}

fn found(history: &AlertHistory, search: &HistorySearch) -> Vec<String> {
    let page = history.search(search).unwrap();
    page.transitions.iter().map(|entry| format!("{} {}", entry.labels["alertname"], entry.to)).collect()
}

#[test]
fn what_was_noted_is_found_by_the_next_process() {
    let directory = tempfile::tempdir().unwrap();
    let history = AlertHistory::open(directory.path(), OPTIONS).unwrap();
    history.note(fires("Down", "a", 1_700_000_000_000));
    history.note(Happening { rule: rule("Slow"), slot_ms: 1_700_000_001_000, what: What::Failed("no answer".into()) });
    history.close();
    history.note(fires("Late", "a", 0));
    assert_eq!(history.stats().written, 2);
    drop(history);
    let history = AlertHistory::open(directory.path(), OPTIONS).unwrap();
    let page = serde_json::to_string(&history.search(&search()).unwrap()).unwrap();
    assert_eq!(
        page,
        concat!(
            r#"{"transitions":[{"id":2,"time":"2023-11-14T22:13:21Z","file":"r.yml","group":"g","rule":"Slow","#,
            r#""labels":{"alertname":"Slow","sev":"page"},"from":"ok","to":"err","reason":"evaluation_failed","error":"no answer"},"#,
            r#"{"id":1,"time":"2023-11-14T22:13:20Z","file":"r.yml","group":"g","rule":"Down","#,
            r#""labels":{"alertname":"Down","job":"a"},"annotations":{"summary":"it is down"},"value":"+Inf","#,
            r#""activeAt":"2023-11-14T22:12:20Z","from":"pending","to":"firing","reason":"held_for"}]}"#
        )
    );
}

#[test]
fn readers_choose_by_labels_rule_state_and_time_and_read_page_by_page() {
    let directory = tempfile::tempdir().unwrap();
    let history = AlertHistory::open(directory.path(), OPTIONS).unwrap();
    for (at, name) in [(1, "A"), (2, "B"), (3, "A"), (4, "C")] {
        history.note(fires(name, if at % 2 == 0 { "even" } else { "odd" }, at));
    }
    history.note(Happening { rule: rule("A"), slot_ms: 5, what: What::Recovered });
    history.close();
    let selector = |text: &str| parse_selector(text, &ParseOptions::default()).unwrap();
    let names = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(found(&history, &search()), ["A ok", "C firing", "A firing", "B firing", "A firing"]);
    let odd = HistorySearch { selectors: vec![selector("{job=\"odd\"}")], ..search() };
    assert_eq!(found(&history, &odd), ["A firing", "A firing"]);
    assert_eq!(found(&history, &HistorySearch { rules: names(&["B", "C"]), ..search() }), ["C firing", "B firing"]);
    assert_eq!(found(&history, &HistorySearch { states: names(&["ok"]), ..search() }), ["A ok"]);
    assert_eq!(found(&history, &HistorySearch { groups: names(&["x"]), ..search() }), [""; 0]);
    assert_eq!(found(&history, &HistorySearch { times: 2..=3, ..search() }), ["A firing", "B firing"]);
    let first = history.search(&HistorySearch { limit: 2, ..search() }).unwrap();
    let before = first.next_token.unwrap().parse().ok();
    assert_eq!(found(&history, &HistorySearch { limit: 2, before, ..search() }), ["A firing", "B firing"]);
}

/// What an Alertmanager will never hear is not lost without a trace.
#[test]
fn a_message_that_will_never_be_delivered_is_noted_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let history = AlertHistory::open(directory.path(), OPTIONS).unwrap();
    let alert = alertmanager_compat::alert::PostableAlert {
        labels: Labels::from_pairs([("alertname", "Down"), ("job", "a")]).unwrap(),
        annotations: [].into(),
        starts_at_ms: 1,
        ends_at_ms: 2,
        generator_url: "".into(),
    };
    let parcel = Parcel { number: 1, resolved: false, alert };
    for reason in [LossReason::TooManyAlerts, LossReason::TooManyBytes, LossReason::Refused] {
        history.note(Happening::undelivered("http://am", &Lost { parcel: parcel.clone(), reason }, Timestamp(7)));
    }
    history.close();
    let page = history.search(&search()).unwrap();
    let errors: Vec<_> = page.transitions.iter().map(|entry| entry.error.as_str()).collect();
    assert_eq!(
        errors,
        [
            "http://am: it does not accept the alert",
            "http://am: too many bytes wait for it",
            "http://am: too many alerts wait for it"
        ]
    );
    let HistoryEntry { rule, from, to, reason, .. } = &page.transitions[0];
    assert_eq!([rule, from, to, reason], ["Down", "firing", "firing", "not_delivered"]);
}
