use super::*;
use model::labels::Labels;
use ruler::alert_instance::{AlertInstance, AlertState};
use ruler::state::shape::RuleShape;
use ruler::state::{Change, RuleId, RuleMemory};
use std::sync::atomic::{AtomicI64, Ordering};
use storage::disk::simulated::{Fault, SimulatedDisk};

const TARGET: &str = "http://am:9093/api/v2/alerts";

fn directory() -> &'static Path {
    Path::new("/data/alerts")
}

fn group() -> Arc<GroupId> {
    Arc::new(GroupId { file: "r.yml".into(), name: "g".into() })
}

fn rule(name: &str) -> Arc<RuleId> {
    Arc::new(RuleId { group: group(), name: name.into(), labels: [("severity".into(), "page".into())].into(), nth: 0 })
}

/// The group with these alerting rules and one that records.
fn shape(alerts: &[&str]) -> GroupShape {
    let rule = |(name, is_alerting)| RuleShape { id: rule(name), is_alerting, digest: 7 };
    let rules = alerts.iter().map(|name| (*name, true)).chain([("recorded", false)]).map(rule).collect();
    GroupShape { id: group(), interval_ms: 60_000, query_offset_ms: 1_000, rules }
}

fn labels(id: usize) -> Labels {
    Labels::from_pairs([("alertname", "A"), ("id", &id.to_string())]).unwrap()
}

/// The alert `id` of the rule `A`, firing since `at`.
fn fires(id: usize, at: i64) -> Departure {
    let mut instance = AlertInstance::new(Timestamp(at), 1.0, Arc::from([(Arc::from("summary"), Arc::from("Down."))]));
    instance.state = AlertState::Firing { fired_at: Timestamp(at), keep_firing_since: None };
    instance.last_sent_at = Some(Timestamp(at));
    let change = Change { labels: labels(id), instance: Some(instance), leaves_until: Some(Timestamp(at + 240_000)) };
    let (slot, last_good) = (Timestamp(at), Some(Timestamp(at)));
    Departure { rule: rule("A"), expr: "up == 0".into(), slot, last_good, changes: vec![change] }
}

fn targets(urls: &[&str]) -> BTreeSet<String> {
    urls.iter().map(|url| (*url).to_owned()).collect()
}

fn open(disk: &SimulatedDisk) -> (Journal, Writer, Opened) {
    Journal::open(Arc::new(disk.clone()), directory(), || Timestamp(0))
}

fn names(disk: &SimulatedDisk) -> Vec<String> {
    let mut names = disk.list(directory()).unwrap();
    names.sort();
    names
}

fn alerts(journal: &Journal) -> Vec<Labels> {
    let memory = journal.begin(shape(&["A"]));
    memory.rules.into_values().flat_map(|rule| rule.alerts).map(|(labels, _)| labels).collect()
}

fn numbers(journal: &Journal) -> Vec<u64> {
    journal.waiting(TARGET).into_iter().map(|(number, _)| number).collect()
}

#[test]
fn what_was_committed_comes_back_and_what_was_settled_does_not() {
    let disk = SimulatedDisk::new();
    let (journal, mut writer, opened) = open(&disk);
    assert_eq!(opened, Opened::default());
    journal.set_targets(&targets(&[TARGET, "http://other"]));
    let commits: Vec<Commit> = (0..3).map(|id| journal.commit(&fires(id, 1_000))).collect();
    assert_eq!(commits.iter().map(|commit| commit.messages[0].0).collect::<Vec<_>>(), [1, 2, 3]);
    journal.settled(TARGET, &[2, 77]);
    journal.evaluated(&group(), Timestamp(1_000));
    let syncs = disk.syncs();
    writer.turn(Duration::ZERO);
    assert_eq!(disk.syncs() - syncs, 1, "one sync for all that wait");
    for mut commit in commits {
        assert_eq!(commit.durable.try_recv(), Ok(Ok(())));
    }

    let (journal, _, opened) = open(&disk.kill());
    assert_eq!((opened.alerts, opened.messages, opened.troubles.as_slice()), (3, 3, [].as_slice()));
    assert_eq!(numbers(&journal), [1, 3]);
    assert_eq!(journal.waiting("http://other").len(), 3);
    let memory = journal.begin(shape(&["A", "B"]));
    assert_eq!(memory.last_slot, Some(Timestamp(1_000)));
    let RuleMemory { last_good, alerts } = &memory.rules[&rule("A")];
    assert_eq!((*last_good, alerts.len(), memory.rules.len()), (Some(Timestamp(1_000)), 3, 1));
    assert_eq!(Some(&alerts[1].1), fires(1, 1_000).changes[0].instance.as_ref());
}

#[test]
fn numbers_go_on_after_a_restart() {
    let disk = SimulatedDisk::new();
    let (journal, mut writer, _) = open(&disk);
    let commit = journal.commit(&fires(0, 1));
    assert_eq!((commit.messages[0].0, journal.stats().messages), (1, 0), "nobody waits: there is no Alertmanager");
    writer.turn(Duration::ZERO);
    let (journal, ..) = open(&disk.kill());
    assert_eq!(journal.commit(&fires(0, 2)).messages[0].0, 2);
}

#[test]
fn a_segment_begins_with_everything_and_replaces_the_one_before() {
    let disk = SimulatedDisk::new();
    let (journal, mut writer, _) = open(&disk);
    journal.set_targets(&targets(&[TARGET]));
    let first = disk.bytes(&directory().join("0000000001.journal")).unwrap().len() as u64;
    let mut at = 0;
    while writer.number == 1 {
        at += 1;
        for id in 0..5_000 {
            let _ = journal.commit(&fires(id, at));
        }
        // Repetitions of what waits already replace it in a queue, which tells so.
        journal.settled(TARGET, &numbers(&journal));
        writer.turn(Duration::ZERO);
        assert!(at < 100, "the log grows without end");
    }
    assert_eq!(names(&disk), ["0000000002.journal"]);
    assert!(at > 10 && first < 100, "not before it has grown");
    let _ = journal.commit(&fires(0, at));
    writer.turn(Duration::ZERO);
    let (journal, _, opened) = open(&disk.kill());
    assert_eq!((opened.alerts, opened.messages), (5_000, 1));
    assert_eq!(alerts(&journal).len(), 5_000);
}

#[test]
fn a_full_disk_stops_nobody_and_is_tried_again() {
    let disk = SimulatedDisk::new();
    let (journal, mut writer, _) = open(&disk);
    journal.set_targets(&targets(&[TARGET]));
    disk.set_fault(Some(Fault::NoSpace));
    let mut commit = journal.commit(&fires(0, 1));
    writer.turn(Duration::from_secs(5));
    assert!(matches!(commit.durable.try_recv(), Ok(Err(problem)) if problem.contains("/data/alerts: ")));
    let mut commit = journal.commit(&fires(1, 1));
    assert!(matches!(commit.durable.try_recv(), Ok(Err(_))), "at once");
    assert!(journal.stats().failing);
    writer.turn(Duration::from_millis(5_500));
    disk.set_fault(None);
    writer.turn(Duration::from_millis(5_900));
    assert!(journal.stats().failing, "not tried again too soon");
    writer.turn(Duration::from_secs(6));
    let stats = journal.stats();
    assert_eq!((stats.failing, stats.commits_failed, stats.failures, stats.alerts), (false, 2, 1, 2));
    let mut commit = journal.commit(&fires(2, 1));
    writer.turn(Duration::from_secs(7));
    assert_eq!(commit.durable.try_recv(), Ok(Ok(())));
    let (journal, ..) = open(&disk.kill());
    assert_eq!((alerts(&journal).len(), numbers(&journal).len()), (3, 3), "nothing of it is missing");
}

#[test]
fn a_failed_sync_is_never_trusted_again() {
    let disk = SimulatedDisk::new();
    let (journal, mut writer, _) = open(&disk);
    disk.set_fault(Some(Fault::Sync));
    let mut commit = journal.commit(&fires(0, 1));
    writer.turn(Duration::ZERO);
    assert!(matches!(commit.durable.try_recv(), Ok(Err(_))));
    disk.set_fault(None);
    writer.turn(Duration::from_secs(9));
    assert_eq!(names(&disk), ["0000000002.journal"], "a new segment with the whole state");
    assert_eq!(alerts(&open(&disk.kill()).0).len(), 1);
}

#[test]
fn a_journal_that_cannot_be_opened_starts_without_and_recovers() {
    let disk = SimulatedDisk::new();
    disk.set_fault(Some(Fault::Write));
    let (journal, mut writer, opened) = open(&disk);
    assert!(matches!(opened.troubles.as_slice(), [Trouble::Write(_)]));
    let _ = journal.commit(&fires(0, 1));
    disk.set_fault(None);
    writer.turn(Duration::from_secs(2));
    assert_eq!(alerts(&open(&disk.kill()).0).len(), 1);
}

#[test]
fn a_torn_tail_is_left_out() {
    let disk = SimulatedDisk::new();
    let (journal, mut writer, _) = open(&disk);
    for id in 0..2 {
        let _ = journal.commit(&fires(id, 1));
        writer.turn(Duration::ZERO);
    }
    let path = directory().join("0000000001.journal");
    let bytes = disk.bytes(&path).unwrap();
    let file = disk.create(&path).unwrap();
    file.write_all_at(&bytes[..bytes.len() - 3], 0).unwrap();
    let (journal, _, opened) = open(&disk);
    assert!(matches!(opened.troubles.as_slice(), [Trouble::Torn { .. }]));
    assert_eq!(alerts(&journal), [labels(0)]);
    assert_eq!(names(&disk), ["0000000002.journal"]);
}

#[test]
fn damage_is_told_with_its_place_and_nothing_behind_it_is_used() {
    let disk = SimulatedDisk::new();
    let (journal, mut writer, _) = open(&disk);
    let path = directory().join("0000000001.journal");
    let mut ends = Vec::new();
    for id in 0..3 {
        let _ = journal.commit(&fires(id, 1));
        writer.turn(Duration::ZERO);
        ends.push(disk.bytes(&path).unwrap().len());
    }
    disk.flip(&path, ends[0] + 20, 4);
    let (journal, _, opened) = open(&disk);
    let reason = "the checksum of the frame is wrong".to_owned();
    assert_eq!(opened.troubles, [Trouble::Damaged { file: path, offset: ends[0] as u64, reason }]);
    assert_eq!(alerts(&journal), [labels(0)]);
    assert_eq!(names(&disk), ["0000000001.damaged", "0000000002.journal"], "kept for a person to look at");
}

/// Whatever byte is changed, the start goes on, and what comes back is what was written before the damage.
#[test]
fn any_flipped_byte_costs_at_most_what_is_behind_it() {
    let disk = SimulatedDisk::new();
    let (journal, mut writer, _) = open(&disk);
    journal.set_targets(&targets(&[TARGET]));
    for id in 0..3 {
        let _ = journal.commit(&fires(id, 1));
        writer.turn(Duration::ZERO);
    }
    let path = directory().join("0000000001.journal");
    let bytes = disk.bytes(&path).unwrap();
    for offset in 0..bytes.len() {
        let copy = SimulatedDisk::new();
        copy.create_dir_all(directory()).unwrap();
        copy.create(&path).unwrap().write_all_at(&bytes, 0).unwrap();
        copy.flip(&path, offset, 0x10);
        let (journal, _, opened) = open(&copy);
        assert!(!opened.troubles.is_empty(), "{offset}");
        let found = alerts(&journal);
        assert!(found.len() < 3, "{offset}");
        assert_eq!(found, (0..found.len()).map(labels).collect::<Vec<_>>());
    }
}

#[test]
fn what_is_gone_from_the_configuration_is_forgotten_after_a_while() {
    let disk = SimulatedDisk::new();
    let now = Arc::new(AtomicI64::new(0));
    let clock = now.clone();
    let (journal, mut writer, _) =
        Journal::open(Arc::new(disk.clone()), directory(), move || Timestamp(clock.load(Ordering::Relaxed)));
    journal.set_targets(&targets(&[TARGET, "http://other"]));
    let _ = journal.begin(shape(&["A"]));
    let _ = journal.commit(&fires(0, 1));
    journal.set_targets(&targets(&[TARGET]));
    journal.end(&group());
    let kept = |journal: &Journal| (journal.stats().alerts, journal.waiting("http://other").len());
    now.store(crate::memory::GONE_KEPT_MS, Ordering::Relaxed);
    writer.begin_segment().unwrap();
    assert_eq!(kept(&journal), (1, 1), "they may come back");
    now.store(crate::memory::GONE_KEPT_MS + 1, Ordering::Relaxed);
    writer.begin_segment().unwrap();
    assert_eq!(kept(&journal), (0, 0));
    assert_eq!(numbers(&journal).len(), 1, "the other one still waits");
}

#[test]
fn a_rule_that_is_there_stays_however_long_it_is_silent() {
    let disk = SimulatedDisk::new();
    let now = Arc::new(AtomicI64::new(0));
    let clock = now.clone();
    let (journal, mut writer, _) =
        Journal::open(Arc::new(disk.clone()), directory(), move || Timestamp(clock.load(Ordering::Relaxed)));
    for name in ["A", "B"] {
        let _ = journal.commit(&Departure { rule: rule(name), ..fires(0, 1) });
    }
    let _ = journal.begin(shape(&["A", "B"]));
    let _ = journal.begin(shape(&["A"]));
    now.store(100 * crate::memory::GONE_KEPT_MS, Ordering::Relaxed);
    writer.begin_segment().unwrap();
    assert_eq!(journal.stats().alerts, 1, "the other was taken out of the group by a reload");
}

/// A sync that takes long serves everybody who came meanwhile.
#[test]
fn a_thread_writes_what_the_others_bring() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, writer, _) = Journal::open(Arc::new(storage::disk::RealDisk), directory.path(), || Timestamp(0));
    let thread = std::thread::spawn(move || writer.run());
    let commits: Vec<_> = std::thread::scope(|scope| {
        let commit = |id| {
            let journal = &journal;
            scope.spawn(move || journal.commit(&fires(id, 1)).durable.blocking_recv())
        };
        let threads: Vec<_> = (0..20).map(commit).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(commits.into_iter().all(|commit| commit == Ok(Ok(()))));
    journal.close();
    thread.join().unwrap();
    let (journal, ..) = Journal::open(Arc::new(storage::disk::RealDisk), directory.path(), || Timestamp(0));
    assert_eq!(alerts(&journal).len(), 20);
}

/// Every kind of record, so that a change of the format is seen: this file must be read by all versions to come.
#[test]
fn the_golden_file_is_written_and_read() {
    let disk = SimulatedDisk::new();
    let (journal, mut writer, _) = open(&disk);
    journal.set_targets(&targets(&[TARGET, "http://other"]));
    let mut departure = fires(0, 1_700_000_000_000);
    let mut pending = departure.changes[0].clone();
    (pending.labels, pending.leaves_until) = (labels(1), None);
    pending.instance = Some(AlertInstance::new(Timestamp(1_699_999_990_000), f64::NAN, Arc::from([])));
    let mut resolved = fires(2, 1_699_999_000_000).changes.remove(0);
    let (fired_at, resolved_at) = (Timestamp(1_699_999_000_000), Timestamp(1_700_000_000_000));
    resolved.leaves_until = Some(resolved_at);
    resolved.instance.as_mut().unwrap().state = AlertState::Resolved { fired_at, resolved_at };
    departure.changes.extend([pending, resolved, Change { labels: labels(3), instance: None, leaves_until: None }]);
    let _ = journal.commit(&departure);
    let _ = journal.begin(shape(&["A"]));
    journal.evaluated(&group(), Timestamp(1_700_000_000_000));
    journal.settled(TARGET, &[1]);
    journal.end(&group());
    writer.turn(Duration::ZERO);
    // Once what happened, once the state that came of it.
    let mut bytes = disk.bytes(&directory().join("0000000001.journal")).unwrap();
    writer.begin_segment().unwrap();
    let state = disk.bytes(&directory().join("0000000002.journal")).unwrap();
    bytes.extend_from_slice(&state[segment::HEADER_BYTES..]);

    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v2.journal");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
        std::fs::write(&golden, &bytes).unwrap();
    }
    assert_eq!(std::fs::read(&golden).unwrap(), bytes, "the format changed: it needs a new version and a new file");
    for version in ["v1.journal", "v2.journal"] {
        let bytes = std::fs::read(golden.with_file_name(version)).unwrap();
        let copy = SimulatedDisk::new();
        copy.create_dir_all(directory()).unwrap();
        copy.create(&directory().join("0000000001.journal")).unwrap().write_all_at(&bytes, 0).unwrap();
        let (journal, _, opened) = open(&copy);
        assert_eq!(opened, Opened { alerts: 3, messages: 2, troubles: Vec::new() }, "{version}");
        assert_eq!((numbers(&journal), journal.waiting("http://other").len()), (vec![2], 2));
        let left: Vec<_> =
            journal.left().into_iter().map(|left| (GroupShape::clone(&left.shape), left.did_run)).collect();
        assert_eq!(left, if version == "v1.journal" { vec![] } else { vec![(shape(&["A"]), false)] });
        assert_eq!(journal.begin(shape(&["A"])).last_slot, Some(Timestamp(1_700_000_000_000)));
    }
}

#[test]
fn what_a_group_had_to_the_last_is_known_to_the_next_process_and_no_longer_to_the_one_after() {
    // The state with which a segment begins says it as well.
    for begins_segment in [false, true] {
        let disk = SimulatedDisk::new();
        let (journal, mut writer, _) = open(&disk);
        assert_eq!(journal.begin(shape(&["A", "B"])), GroupMemory::default());
        let _ = journal.commit(&Departure { rule: rule("A"), ..fires(0, 1) });
        let _ = journal.commit(&Departure { rule: rule("B"), ..fires(1, 1) });
        writer.turn(Duration::ZERO);
        if begins_segment {
            writer.begin_segment().unwrap();
        }
        let disk = disk.kill();
        let (journal, mut writer, _) = open(&disk);
        let left = journal.left();
        assert_eq!((left.len(), left[0].did_run, left[0].memory.gone.len()), (1, true, 2));
        let memory = journal.begin(shape(&["A"]));
        assert_eq!(memory.shape.as_deref(), Some(&shape(&["A", "B"])));
        let gone: Vec<_> = memory.gone.iter().flat_map(|rule| &rule.alerts).map(|(labels, _)| labels.clone()).collect();
        assert_eq!((gone, memory.rules.len()), (vec![labels(1)], 1));
        assert!(journal.left().is_empty());
        writer.turn(Duration::ZERO);
        let (journal, ..) = open(&disk.kill());
        let memory = journal.begin(shape(&["A"]));
        assert_eq!((memory.shape.as_deref(), memory.gone), (Some(&shape(&["A"])), Vec::new()));
    }
}

#[test]
fn a_group_that_was_taken_away_while_a_process_ran_is_told_apart_from_one_that_ran_to_the_end() {
    let disk = SimulatedDisk::new();
    let (journal, mut writer, _) = open(&disk);
    let _ = journal.begin(shape(&["A"]));
    journal.end(&group());
    writer.turn(Duration::ZERO);
    let disk = disk.kill();
    let (journal, mut writer, _) = open(&disk);
    assert!(!journal.left()[0].did_run);
    // It is back, and nothing about it is new.
    assert!(journal.begin(shape(&["A"])).was_ended);
    writer.turn(Duration::ZERO);
    let (journal, ..) = open(&disk.kill());
    assert!(journal.left()[0].did_run);
    assert!(!journal.begin(shape(&["A"])).was_ended);
}

#[test]
fn a_group_that_was_taken_away_is_forgotten_however_often_the_process_starts() {
    let now = Arc::new(AtomicI64::new(0));
    let open = |disk: &SimulatedDisk| {
        let clock = now.clone();
        Journal::open(Arc::new(disk.clone()), directory(), move || Timestamp(clock.load(Ordering::Relaxed)))
    };
    let disk = SimulatedDisk::new();
    let (journal, mut writer, _) = open(&disk);
    let _ = journal.begin(shape(&["A"]));
    let _ = journal.commit(&fires(0, 1));
    journal.evaluated(&group(), Timestamp(1_000));
    journal.end(&group());
    writer.turn(Duration::ZERO);
    let mut disk = disk;
    for (since, known) in [(1, 1), (crate::memory::GONE_KEPT_MS, 1), (crate::memory::GONE_KEPT_MS + 1, 0)] {
        now.store(1_000 + since, Ordering::Relaxed);
        disk = disk.kill();
        let (journal, ..) = open(&disk);
        assert_eq!((journal.left().len(), journal.stats().alerts), (known, known), "{since} ms after it was evaluated");
    }
}
