use super::*;
use crate::append::LabelHash;
use crate::head::HeadOptions;
use std::sync::atomic::AtomicUsize;

fn head() -> (Head, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (head, _) = Head::open(HeadOptions { shards: 2, ..HeadOptions::new(dir.path()) }).unwrap();
    (head, dir)
}

fn append(head: &Head, labels: &[(&str, &str)], at_ms: i64) {
    let hash = LabelHash::of_pairs(labels.iter().copied(), &mut Vec::new());
    let (series, _) = head.create(hash, labels, |_| {}).unwrap();
    let mut rows = Rows::default();
    rows.push(series, at_ms, 1.0);
    head.append(&rows);
}

fn watch(head: &Head, name: &str) -> (Watch, Arc<AtomicUsize>) {
    let woken = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&woken);
    let selector = vec![Matcher::equal("__name__", name)];
    let watch = head.watch(vec![selector], move || {
        counts.fetch_add(1, Ordering::SeqCst);
    });
    (watch, woken)
}

#[test]
fn samples_of_series_that_are_there_and_of_new_ones_are_heard_of() {
    let (head, _dir) = head();
    append(&head, &[("__name__", "up"), ("job", "a")], 1000);
    let (watch, woken) = watch(&head, "up");
    assert_eq!(watch.newest_ms(), None, "it has not arrived since");
    append(&head, &[("__name__", "up"), ("job", "a")], 2000);
    assert_eq!((watch.newest_ms(), woken.load(Ordering::SeqCst)), (Some(2000), 1));
    append(&head, &[("__name__", "up"), ("job", "b")], 3000);
    append(&head, &[("__name__", "down"), ("job", "b")], 9000);
    assert_eq!((watch.newest_ms(), woken.load(Ordering::SeqCst)), (Some(3000), 2));
    // What is older than the newest is news, too.
    append(&head, &[("__name__", "up"), ("job", "a")], 2500);
    assert_eq!((watch.newest_ms(), woken.load(Ordering::SeqCst)), (Some(3000), 3));
}

#[test]
fn one_target_that_has_not_sent_is_lacking_whatever_others_sent() {
    let (head, _dir) = head();
    let now_ms = now_ms();
    let send = |name: &str, instance: &str, at_ms: i64| {
        append(&head, &[("__name__", name), ("instance", instance), ("job", "j")], at_ms);
    };
    send("up", "known", now_ms - 60_000);
    let watch = head.watch_targets(vec![vec![Matcher::equal("__name__", "up")]], || {});
    let lacks = |at_ms: i64| watch.lacks(at_ms, now_ms, 60_000);
    assert!(lacks(now_ms - 50_000), "nothing arrived since");
    for instance in ["known", "new"] {
        send("up", instance, now_ms - 45_000);
        send("up", instance, now_ms - 30_000);
    }
    assert!(!lacks(now_ms - 20_000), "the next ones are of 15 s before now");
    assert!(lacks(now_ms - 10_000));
    send("up", "known", now_ms - 5_000);
    // Nobody selects it.
    send("down", "new", now_ms - 5_000);
    assert!(lacks(now_ms - 10_000));
    send("up", "new", now_ms - 5_000);
    assert!(!lacks(now_ms - 10_000));
    assert!(!watch.lacks(now_ms + 100_000, now_ms + 100_000, 60_000), "both are silent");
}

#[test]
fn nothing_is_kept_for_watches_that_are_gone() {
    let (head, _dir) = head();
    append(&head, &[("__name__", "up")], 1000);
    let first = watch(&head, "up");
    let second = watch(&head, "up");
    drop(first);
    append(&head, &[("__name__", "up")], 2000);
    assert_eq!(second.0.newest_ms(), Some(2000));
    drop(second);
    assert!(!head.inner.watches.any.load(Ordering::SeqCst));
    assert!(head.inner.watches.state.read().by_series.is_empty());
}
