//! The history on a real file system.

use super::*;
use crate::rules::history::pen::Noted;
use model::time::Timestamp;
use ruler::state::GroupId;
use ruler::state::shape::RuleChange;
use std::collections::BTreeMap;

const OPTIONS: RecordLogOptions = RecordLogOptions { bytes_max: 4 << 20, keep_ms: i64::MAX };
const MINUTE: i64 = 60_000;
const START: i64 = 1_700_000_000_000;

fn rule(group: &str, name: &str) -> Arc<RuleId> {
    let group = Arc::new(GroupId { file: "r.yml".into(), name: group.into() });
    Arc::new(RuleId { group, name: name.into(), labels: BTreeMap::from([("sev".into(), "page".into())]), nth: 0 })
}

fn past(minute: i64) -> PastEvaluation {
    let error = (minute % 10 == 3).then(|| Arc::from("no answer"));
    let (at, took) = (Timestamp(START + minute * MINUTE + minute % 7), Duration::from_micros(1_500));
    PastEvaluation { at, took, samples: 100 + minute as u32 % 3, error }
}

fn view(id: &Arc<RuleId>, remembered: impl Iterator<Item = i64>) -> PastRuleView {
    PastRuleView {
        id: id.clone(),
        interval_ms: MINUTE,
        file: id.group.file.clone(),
        group: id.group.name.clone(),
        name: id.name.clone(),
        r#type: "recording",
        labels: id.labels.clone(),
        evaluations: remembered.map(|minute| EvaluationView::of(past(minute))).collect(),
    }
}

fn minutes(view: &PastRuleView) -> Vec<i64> {
    view.evaluations.iter().map(|evaluation| (evaluation.time.0 - START) / MINUTE).collect()
}

#[test]
fn evaluations_of_an_earlier_process_follow_those_that_the_group_remembers() {
    let directory = tempfile::tempdir().unwrap();
    let history = RuleHistory::open(directory.path(), OPTIONS).unwrap();
    let (one, other) = (rule("g", "one"), rule("h", "other"));
    for ten in 0..10 {
        for id in [&one, &other] {
            history.evaluated([(id.clone(), (ten * 10..ten * 10 + 10).map(past).collect())].into());
        }
    }
    history.close();
    drop(history);
    let history = RuleHistory::open(directory.path(), OPTIONS).unwrap();
    // The group remembers some that were written, too, and some that were not.
    let mut rules = [view(&one, (95..105).rev())];
    assert!(!history.complete(&mut rules, i64::MIN..=i64::MAX, 30).unwrap());
    assert_eq!(minutes(&rules[0]), (75..105).rev().collect::<Vec<_>>());
    let expected: Vec<String> =
        (75..105).rev().map(|minute| format!("{:?}", EvaluationView::of(past(minute)))).collect();
    assert_eq!(rules[0].evaluations.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>(), expected);
    // All there is, and those of some time.
    let mut rules = [view(&one, 0..0), view(&other, 0..0), view(&rule("g", "new"), 0..0)];
    assert!(!history.complete(&mut rules, i64::MIN..=i64::MAX, 1_000).unwrap());
    assert_eq!(rules.each_ref().map(|rule| rule.evaluations.len()), [100, 100, 0]);
    let mut rules = [view(&one, (95..105).rev())];
    let times = START + 40 * MINUTE..=START + 50 * MINUTE;
    assert!(!history.complete(&mut rules, times, 5).unwrap());
    assert_eq!(minutes(&rules[0]), [49, 48, 47, 46, 45]);
}

/// Only so much is read, and that is not to be spent on what is newer than what is asked for.
#[test]
fn evaluations_of_long_ago_are_found_behind_many_that_are_newer() {
    let directory = tempfile::tempdir().unwrap();
    let history = RuleHistory::open(directory.path(), OPTIONS).unwrap();
    let (one, other) = (rule("g", "one"), rule("h", "other"));
    history.evaluated([(one.clone(), (0..10).map(past).collect())].into());
    history.close();
    drop(history);
    let history = RuleHistory::open(directory.path(), OPTIONS).unwrap();
    for ten in 4..1_000 {
        history.evaluated([(other.clone(), (ten * 10..ten * 10 + 10).map(past).collect())].into());
    }
    history.close();
    let bytes_max = history.stats().bytes / 2;
    let mut rules = [view(&one, 0..0)];
    let found = history.complete_reading(&mut rules, START..=START + 5 * MINUTE, 100, bytes_max).unwrap();
    assert_eq!((found, minutes(&rules[0])), (false, (0..5).rev().collect()));
}

/// A record has the time of its newest evaluation, which may be hours after what is asked for, whatever the interval is today.
#[test]
fn evaluations_from_before_an_interval_was_shortened_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let history = RuleHistory::open(directory.path(), OPTIONS).unwrap();
    let one = rule("g", "one");
    history.evaluated([(one.clone(), (0..10).map(|hour| past(hour * 180)).collect())].into());
    history.evaluated([(one.clone(), (2_000..2_010).map(past).collect())].into());
    history.close();
    for remembered in [0..0, 2_000..2_010] {
        let mut rules = [view(&one, remembered.rev())];
        assert!(!history.complete(&mut rules, START..=START + 400 * MINUTE, 100).unwrap());
        assert_eq!(minutes(&rules[0]), [360, 180, 0]);
    }
}

#[test]
fn a_record_says_how_far_it_goes_back_and_those_of_version_1_are_read_for_it() {
    let told = Told([(rule("g", "r"), (5..15).map(past).collect()), (rule("g", "s"), vec![past(7)])].into());
    let mut records = Vec::new();
    told.encode(&mut records);
    let (time_ms, new) = records.remove(0);
    assert_eq!(time_ms, past(14).at.0);
    // The version, then the span: ten minutes take three bytes.
    let old = [&[1], &new[4..]].concat();
    let read = |bytes: &[u8]| {
        evaluations::decode(&storage::record_log::Record { number: 1, time_ms, payload: bytes.into() }, |_| true)
    };
    assert_eq!(format!("{:?}", read(&old)), format!("{:?}", read(&new)));
    assert_eq!(read(&old).len(), 2);
    assert_eq!([&old, &new].map(|bytes| Told::oldest(time_ms, bytes)), [past(5).at.0; 2]);
    for length in 0..new.len() {
        assert!(Told::oldest(time_ms, &new[..length]) <= time_ms);
        assert!(Told::oldest(time_ms, &old[..length.min(old.len())]) <= time_ms);
    }
}

/// What ten thousand groups of ten rules write in a day has to be bearable.
#[test]
fn an_evaluation_takes_a_few_bytes() {
    let rules: Vec<_> =
        (0..10).map(|number| rule("a group of usual length", &format!("job:requests:rate{number}"))).collect();
    let told = Told(rules.into_iter().map(|id| (id, (10..20).map(past).collect())).collect());
    let mut records = Vec::new();
    told.encode(&mut records);
    assert_eq!(records.len(), 1);
    assert!(records[0].1.len() < 100 * 13, "{} bytes for 100 evaluations", records[0].1.len());
}

/// A record may have one rule or hundreds with long errors: bytes are what a disk that hangs must not fill the memory with.
#[test]
fn so_many_bytes_may_wait_and_what_is_left_out_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let told = || {
        let evaluations = (0..10).map(|minute| PastEvaluation { error: Some("x".repeat(500).into()), ..past(minute) });
        Told([(rule("g", "r"), evaluations.collect())].into())
    };
    let (thread, gathers_for, log) = ("test", Duration::from_secs(3_600), OPTIONS);
    let pen = Pen::open(directory.path(), PenOptions { thread, waiting_max: 20_000, gathers_for, log }).unwrap();
    (0..10).for_each(|_| pen.note(told()));
    pen.close();
    let stats = pen.stats();
    assert_eq!((stats.written, stats.lost), (3, 7));
}

#[test]
fn rules_whose_errors_all_differ_become_more_records_and_what_fits_into_none_is_counted() {
    let error = |rule: usize, minute: i64| Some(Arc::from(format!("{rule} {minute} {}", "x".repeat(900))));
    let evaluations = |rule| (0..10).map(move |minute| PastEvaluation { error: error(rule, minute), ..past(minute) });
    let rules = (0..300).map(|number| (rule("g", &format!("r{number}")), evaluations(number).collect()));
    let mut records = Vec::new();
    Told(rules.collect()).encode(&mut records);
    let read = |(time_ms, payload): (i64, Vec<u8>)| {
        assert!(payload.len() <= storage::record_log::RECORD_BYTES_MAX);
        evaluations::decode(&storage::record_log::Record { number: 1, time_ms, payload }, |_| true).len()
    };
    assert_eq!(records.into_iter().map(read).collect::<Vec<_>>(), [75; 4]);

    let directory = tempfile::tempdir().unwrap();
    let history = RuleHistory::open(directory.path(), OPTIONS).unwrap();
    history.evaluated([(rule("g", &"r".repeat(2 << 20)), vec![past(1)])].into());
    history.evaluated([(rule("g", "r"), vec![past(1)])].into());
    history.close();
    let stats = history.stats();
    assert_eq!((stats.written, stats.lost), (1, 1));
}

#[test]
fn bytes_that_are_no_record_are_passed_over() {
    let told = Told([(rule("g", "r"), (0..10).map(past).collect())].into());
    let mut records = Vec::new();
    told.encode(&mut records);
    let bytes = records.remove(0).1;
    let record = |payload: Vec<u8>| storage::record_log::Record { number: 1, time_ms: 0, payload };
    assert_eq!(evaluations::decode(&record(bytes.clone()), |_| true).len(), 1);
    for length in 0..bytes.len() {
        assert!(evaluations::decode(&record(bytes[..length].to_vec()), |_| true).is_empty());
    }
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0xff;
        let _ = evaluations::decode(&record(bytes), |_| true);
    }
}

#[test]
fn changes_are_found_by_rule_group_and_time() {
    let directory = tempfile::tempdir().unwrap();
    let history = RuleHistory::open(directory.path(), OPTIONS).unwrap();
    let id = rule("g", "r");
    let event = |at: i64, rule: Option<&Arc<RuleId>>, what| RuleEvent {
        at_ms: START + at,
        group: id.group.clone(),
        rule: rule.cloned(),
        what,
    };
    history.note(event(0, Some(&id), RuleEventKind::Configured(RuleChange::Added, Some("expr: up\n".into()))));
    history.note(event(1, Some(&id), RuleEventKind::Failed("no answer".into())));
    history.note(event(2, None, RuleEventKind::SlotsMissed(3)));
    history.note(event(3, Some(&rule("g", "s")), RuleEventKind::Recovered));
    history.close();
    let filter = |text: &[(&str, &str)]| {
        let pairs: Vec<_> = text.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        RulesFilter::from_parameters(&pairs, &[]).unwrap()
    };
    let found = |pairs: &[(&str, &str)], times: RangeInclusive<i64>, limit: usize| {
        let (entries, _) = history.changes(&filter(pairs), times, limit).unwrap();
        entries.iter().map(|entry| entry.what.clone()).collect::<Vec<_>>()
    };
    let always = i64::MIN..=i64::MAX;
    assert_eq!(found(&[], always.clone(), 10), ["recovered", "slots_missed", "failed", "added"]);
    assert_eq!(found(&[], always.clone(), 2), ["recovered", "slots_missed"]);
    assert_eq!(found(&[("rule_name[]", "r")], always.clone(), 10), ["failed", "added"]);
    assert_eq!(found(&[("rule_group[]", "h")], always.clone(), 10), [""; 0]);
    assert_eq!(found(&[("match[]", "{sev=\"page\"}")], always, 10), ["recovered", "failed", "added"]);
    assert_eq!(found(&[], START..=START + 1, 10), ["failed", "added"]);
    let (entries, is_cut) = history.changes(&filter(&[("rule_name[]", "r")]), START..=START, 10).unwrap();
    assert!(!is_cut);
    assert_eq!(
        serde_json::to_string(&entries[0]).unwrap(),
        concat!(
            r#"{"time":"2023-11-14T22:13:20Z","file":"r.yml","group":"g","rule":"r","labels":{"sev":"page"},"#,
            r#""what":"added","definition":"expr: up\n"}"#
        )
    );
}
