use super::*;
use proptest::prelude::*;

const GROUP: GroupKey<'static> = GroupKey { job: "j", instance: "i" };

fn scrapes(range: std::ops::Range<i64>) -> Vec<i64> {
    range.map(|n| n * 15_000 + n % 3).collect()
}

#[test]
fn series_of_one_target_share_a_timeline_despite_gaps_and_late_starts() {
    let mut planner = TimelinePlanner::default();
    let all = planner.add(GROUP, &scrapes(0..100), None);
    let gap: Vec<i64> = scrapes(0..100).into_iter().enumerate().filter(|(n, _)| n % 7 != 0).map(|(_, t)| t).collect();
    assert_eq!(planner.add(GROUP, &gap, None), all);
    assert_eq!(planner.add(GROUP, &scrapes(40..120), None), all);
    assert_eq!(planner.finish().unwrap().rows(), 120);
}

#[test]
fn a_short_series_that_comes_first_does_not_divide_its_target() {
    let mut planner = TimelinePlanner::default();
    let short = planner.add(GROUP, &scrapes(7..8), None);
    assert_eq!(planner.add(GROUP, &scrapes(0..100), None), short);
    assert_eq!(planner.add(GROUP, &scrapes(0..100), None), short);
    assert_eq!(planner.finish().unwrap().rows(), 100);
}

#[test]
fn series_with_times_of_their_own_have_a_timeline_of_their_own() {
    let mut planner = TimelinePlanner::default();
    let target = planner.add(GROUP, &scrapes(0..100), None);
    let pushed: Vec<i64> = (0..100).map(|n| n * 15_000 + 7_001).collect();
    let own = planner.add(GROUP, &pushed, None);
    assert_ne!(own, target);
    assert_eq!(planner.add(GROUP, &pushed, None), own);
    assert_eq!(planner.add(GROUP, &scrapes(0..100), None), target);
}

#[test]
fn groups_are_apart() {
    let mut planner = TimelinePlanner::default();
    let choices = [("a", "bc"), ("ab", "c"), ("", "abc")]
        .map(|(job, instance)| planner.add(GroupKey { job, instance }, &scrapes(0..9), Some(1)));
    assert_eq!(choices, [0, 1, 2].map(TimelineChoice));
}

#[test]
fn equal_tokens_are_believed() {
    let mut planner = TimelinePlanner::default();
    let first = planner.add(GROUP, &scrapes(0..9), Some(5));
    assert_eq!(planner.add(GROUP, &[1], Some(5)), first);
    assert_eq!(planner.finish().unwrap().rows(), 9);
}

#[test]
fn more_distinct_lists_than_are_remembered() {
    let mut planner = TimelinePlanner::default();
    let list = |n: i64| vec![n, n + 1_000, n + 3_000];
    for n in 0..50 {
        planner.add(GROUP, &list(n), Some(n as u64));
    }
    assert_eq!(planner.finish().unwrap().rows(), 150);
}

proptest! {
    /// Whatever is joined with what, each series finds its timestamps in the end.
    #[test]
    fn every_timestamp_is_found(lists in prop::collection::vec((0u8..2, prop::collection::btree_set(0i64..60, 1..40)), 1..30)) {
        let mut planner = TimelinePlanner::default();
        let mut chosen = Vec::new();
        for (group, list) in &lists {
            let list: Vec<i64> = list.iter().copied().collect();
            let instance = if *group == 0 { "a" } else { "b" };
            chosen.push((planner.add(GroupKey { job: "", instance }, &list, None), list));
        }
        let plan = planner.finish().unwrap();
        let rows: Vec<i64> = plan.iter().flat_map(|(_, _, times)| times.iter()).collect();
        prop_assert_eq!(rows.len(), plan.rows() as usize);
        for (choice, list) in chosen {
            let mut scratch = Vec::new();
            let found: Vec<u32> = match plan.locate(choice, &list, &mut scratch).expect("planned") {
                Rows::Consecutive(first) => (first..first + list.len() as u32).collect(),
                Rows::Listed(rows) => rows.to_vec(),
            };
            let times: Vec<i64> = found.iter().map(|row| rows[*row as usize]).collect();
            prop_assert_eq!(times, list);
        }
    }
}
