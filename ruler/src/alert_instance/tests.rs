use super::*;

const MINUTE: i64 = 60_000;

fn timing(hold: i64, keep_firing: i64) -> Timing {
    Timing { hold_ms: hold * MINUTE, keep_firing_ms: keep_firing * MINUTE }
}

fn no_annotations() -> Annotations {
    Arc::from([])
}

/// One letter per minute: `x` returned, `.` absent. Result: `-` inactive, `p` pending, `F` firing, `k` firing by
/// `keep_firing_for`, `r` resolved.
fn states(timing: Timing, returned: &str) -> String {
    let mut instance: Option<AlertInstance> = None;
    let mut letters = String::new();
    for (minute, letter) in (1..).zip(returned.chars()) {
        let now = Timestamp(minute * MINUTE);
        if letter == 'x' {
            match &mut instance {
                Some(known) => known.observe(now, 1.0, no_annotations()),
                None => instance = Some(AlertInstance::new(now, 1.0, no_annotations())),
            }
        }
        if let Some(known) = &mut instance
            && known.advance(now, letter == 'x', timing) == Fate::Forgotten
        {
            instance = None;
        }
        letters.push(match instance.as_ref().map(|known| known.state) {
            None => '-',
            Some(AlertState::Pending) => 'p',
            Some(AlertState::Firing { keep_firing_since: None, .. }) => 'F',
            Some(AlertState::Firing { keep_firing_since: Some(_), .. }) => 'k',
            Some(AlertState::Resolved { .. }) => 'r',
        });
    }
    letters
}

#[test]
fn without_for_an_alert_fires_at_once() {
    assert_eq!(states(timing(0, 0), "x.x"), "FrF");
}

#[test]
fn an_alert_is_pending_until_it_was_returned_for_the_whole_of_for() {
    assert_eq!(states(timing(2, 0), "xxxx"), "ppFF");
}

/// A hold shorter than the interval ends at the next evaluation, not in between.
#[test]
fn a_small_for_fires_at_the_second_evaluation() {
    assert_eq!(states(Timing { hold_ms: 15_000, keep_firing_ms: 0 }, "xx"), "pF");
}

/// A gap while pending starts the hold again: the condition must last without interruption.
#[test]
fn gap_while_pending_restarts_the_hold() {
    assert_eq!(states(timing(2, 0), "xx.xxx"), "pp-ppF");
}

#[test]
fn a_resolved_alert_is_kept_for_fifteen_minutes() {
    assert_eq!(states(timing(0, 0), "x.................."), "Frrrrrrrrrrrrrrrr--");
}

#[test]
fn a_resolved_alert_that_returns_is_pending_anew() {
    assert_eq!(states(timing(1, 0), "xx..xxx"), "pFrrpFF");
}

#[test]
fn keep_firing_for_bridges_gaps_that_are_shorter() {
    assert_eq!(states(timing(0, 3), "x..x...."), "FkkFkkkr");
}

#[test]
fn keep_firing_for_does_not_hold_a_pending_alert() {
    assert_eq!(states(timing(2, 5), "xx.xxx."), "pp-ppFk");
}

#[test]
fn raising_for_takes_a_firing_alert_back_to_pending_and_lowering_it_fires() {
    let mut instance = AlertInstance::new(Timestamp(0), 1.0, no_annotations());
    instance.advance(Timestamp(0), true, timing(0, 0));
    instance.last_sent_at = Some(Timestamp(0));
    instance.observe(Timestamp(MINUTE), 1.0, no_annotations());
    assert_eq!(instance.advance(Timestamp(MINUTE), true, timing(5, 0)), Fate::Active);
    assert_eq!((instance.state, instance.last_sent_at), (AlertState::Pending, None));
    instance.advance(Timestamp(2 * MINUTE), true, timing(2, 0));
    assert_eq!(instance.state, AlertState::Firing { fired_at: Timestamp(2 * MINUTE), keep_firing_since: None });
}

#[test]
fn value_and_annotations_follow_the_last_result() {
    let mut instance = AlertInstance::new(Timestamp(0), 1.0, no_annotations());
    let annotations: Annotations = Arc::from([(Arc::from("summary"), Arc::from("two"))]);
    instance.advance(Timestamp(0), true, timing(0, 5));
    instance.observe(Timestamp(MINUTE), 2.0, annotations.clone());
    instance.advance(Timestamp(2 * MINUTE), false, timing(0, 5));
    assert_eq!((instance.value, instance.annotations), (2.0, annotations));
}

#[test]
fn an_alert_is_sent_when_it_fires_when_it_resolves_and_after_more_than_the_resend_delay() {
    let mut instance = AlertInstance::new(Timestamp(0), 1.0, no_annotations());
    assert!(!instance.needs_sending(Timestamp(0), MINUTE), "pending");
    instance.advance(Timestamp(MINUTE), true, timing(1, 0));
    assert!(instance.needs_sending(Timestamp(MINUTE), MINUTE), "just fired");
    instance.last_sent_at = Some(Timestamp(MINUTE));
    assert!(!instance.needs_sending(Timestamp(2 * MINUTE), MINUTE), "the delay is exclusive");
    assert!(instance.needs_sending(Timestamp(2 * MINUTE + 1), MINUTE));
    instance.advance(Timestamp(MINUTE + 1), false, timing(1, 0));
    assert!(instance.needs_sending(Timestamp(MINUTE + 1), MINUTE), "just resolved");
}
