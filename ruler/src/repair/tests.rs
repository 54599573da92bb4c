use super::*;

const MINUTE: i64 = 60_000;

fn at(minute: i64) -> Timestamp {
    Timestamp(minute * MINUTE)
}

/// Everything that is tried in one round, which succeeds unless `fails` says otherwise.
fn round(backlog: &mut Backlog, fails: impl Fn(i64, usize) -> bool) -> Vec<(i64, Vec<usize>)> {
    let mut tried = Vec::new();
    while let Some((slot, rules)) = backlog.next(3) {
        for rule in &rules {
            let again = fails(slot.0 / MINUTE, *rule);
            backlog.settle(slot, *rule, if again { Attempt::Again } else { Attempt::Done });
        }
        backlog.close(slot);
        tried.push((slot.0 / MINUTE, rules));
    }
    tried
}

#[test]
fn missed_slots_are_tried_in_their_order() {
    let mut backlog = Backlog::default();
    backlog.miss(at(1), at(4), MINUTE, at(0));
    assert_eq!(backlog.len(), 3);
    assert_eq!(round(&mut backlog, |_, _| false), [(1, vec![0, 1, 2]), (2, vec![0, 1, 2]), (3, vec![0, 1, 2])]);
    assert!(backlog.is_empty());
    assert_eq!(backlog.tally(), RepairTally { repaired: 3, lost: 0 });
}

#[test]
fn what_failed_is_tried_once_in_each_round() {
    let mut backlog = Backlog::default();
    backlog.fail(at(1), 2);
    assert!(!backlog.has_untried(), "it has just been tried");
    assert_eq!(backlog.begin_round(at(0)), 0);
    assert!(backlog.has_untried());
    assert_eq!(round(&mut backlog, |_, _| true), [(1, vec![2])]);
    assert_eq!(round(&mut backlog, |_, _| false), []);
    backlog.begin_round(at(0));
    assert_eq!(round(&mut backlog, |_, _| false), [(1, vec![2])]);
    assert_eq!(backlog.tally(), RepairTally { repaired: 1, lost: 0 });
}

#[test]
fn only_the_rules_that_are_lacking_are_tried_again() {
    let mut backlog = Backlog::default();
    backlog.miss(at(1), at(2), MINUTE, at(0));
    assert_eq!(round(&mut backlog, |_, rule| rule == 1), [(1, vec![0, 1, 2])]);
    backlog.begin_round(at(0));
    backlog.fail(at(2), 0);
    assert_eq!(round(&mut backlog, |_, _| false), [(1, vec![1])]);
}

#[test]
fn what_is_older_than_the_window_is_lost() {
    let mut backlog = Backlog::default();
    backlog.miss(at(1), at(5), MINUTE, at(3));
    assert_eq!((backlog.len(), backlog.tally().lost), (2, 2));
    assert_eq!(backlog.begin_round(at(4)), 1);
    assert_eq!((backlog.len(), backlog.tally().lost), (1, 3));
    // Everything is older: a window of nothing.
    let mut none = Backlog::default();
    none.miss(at(1), at(5), MINUTE, at(9));
    assert_eq!((none.len(), none.tally().lost), (0, 4));
}

#[test]
fn a_rule_for_which_it_is_too_late_makes_the_slot_a_lost_one() {
    let mut backlog = Backlog::default();
    backlog.miss(at(1), at(2), MINUTE, at(0));
    let (slot, _) = backlog.next(2).unwrap();
    backlog.settle(slot, 0, Attempt::Lost);
    backlog.close(slot);
    assert_eq!(backlog.len(), 1, "the other rule is still lacking");
    backlog.settle(slot, 1, Attempt::Done);
    backlog.close(slot);
    assert_eq!(backlog.tally(), RepairTally { repaired: 0, lost: 1 });
}

#[test]
fn a_clock_that_jumps_by_years_leaves_a_bounded_number_of_gaps() {
    let mut backlog = Backlog::default();
    backlog.miss(Timestamp(7), Timestamp(i64::MAX), 1, Timestamp(i64::MIN));
    assert_eq!(backlog.len(), GAPS_MAX);
    assert!(backlog.tally().lost > 1 << 60);
    backlog.miss(Timestamp(i64::MIN), Timestamp(i64::MAX), MINUTE, Timestamp(i64::MAX));
    assert_eq!(backlog.len(), GAPS_MAX);
}

#[test]
fn rules_keep_their_gaps_when_they_are_renumbered() {
    let mut backlog = Backlog::default();
    backlog.miss(at(1), at(2), MINUTE, at(0));
    backlog.fail(at(2), 0);
    // Rule 0 is gone, 1 is the first now; a new one stands behind it.
    backlog.renumber(|old| old.checked_sub(1).filter(|new| *new == 0), 2);
    backlog.begin_round(at(0));
    assert_eq!(round(&mut backlog, |_, _| false), [(1, vec![0])]);
}

#[test]
fn gaps_come_before_the_newest_slot_only_when_that_does_not_make_it_late() {
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    assert!(comes_first(10, second, Duration::ZERO, minute));
    assert!(!comes_first(31, second, Duration::ZERO, minute), "all of them would take more than half a minute");
    assert!(!comes_first(1, second, second * 30, minute), "they have taken half a minute already");
    assert!(!comes_first(1, minute, Duration::ZERO, minute), "the group is slower than its interval");
    assert!(fits_before(second, second * 2) && !fits_before(second * 2, second));
}
