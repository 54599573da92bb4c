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
    // What is older than the newest wakes nobody.
    append(&head, &[("__name__", "up"), ("job", "a")], 2500);
    assert_eq!((watch.newest_ms(), woken.load(Ordering::SeqCst)), (Some(3000), 2));
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
