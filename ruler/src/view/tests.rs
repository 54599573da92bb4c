use super::*;
use crate::testing::{MINUTE, SECOND, World, group, specs, vector};
use std::sync::Mutex;

const START: i64 = 1_000_000_000;

fn json(view: &impl Serialize) -> String {
    serde_json::to_string(view).expect("views print")
}

fn all() -> RulesFilter {
    RulesFilter::default()
}

#[test]
fn rules_print_as_prometheus_prints_them() {
    let world = World::at(START);
    let group = group(
        "groups:\n- name: g\n  interval: 90s\n  limit: 7\n  labels: {team: db}\n  rules:\n  - record: job:up:sum\n    expr: \
         sum(up)\n  - alert: Down\n    expr: up == 0\n    for: 1m30s\n    keep_firing_for: 500ms\n    labels: {sev: '{{ \
         $value }}'}\n    annotations: {summary: 'down {{ $labels.job }}', empty: ''}\n",
    );
    world.answer("sum(up)", |_, _| Err(crate::error::QueryError::Limited("query timed out".into())));
    world.answer("up == 0", |_, _| Ok(vector(&[(&[("job", "a")], 0.0)])));
    let wait = i64::try_from(lock(&group).wait(Timestamp(START)).as_millis()).expect("short");
    world.run(&group, wait + 1);
    let slot = jiff::Timestamp::from_millisecond(START + wait).expect("in range");
    let expected = format!(
        concat!(
            r#"{{"groups":[{{"name":"g","file":"rules.yml","rules":["#,
            r#"{{"name":"job:up:sum","query":"sum(up)","labels":{{"team":"db"}},"health":"err","lastError":"query timed out","#,
            r#""evaluationTime":0,"lastEvaluation":"{slot}",{cost},"type":"recording"}},"#,
            r#"{{"state":"pending","name":"Down","query":"up == 0","duration":90,"keepFiringFor":0.5,"#,
            r#""labels":{{"sev":"{{{{ $value }}}}","team":"db"}},"#,
            r#""annotations":{{"empty":"","summary":"down {{{{ $labels.job }}}}"}},"#,
            r#""alerts":[{{"labels":{{"alertname":"Down","job":"a","sev":"0","team":"db"}},"#,
            r#""annotations":{{"empty":"","summary":"down a"}},"#,
            r#""state":"pending","activeAt":"{slot}","value":"0e+00"}}],"#,
            r#""health":"ok","evaluationTime":0,"lastEvaluation":"{slot}",{cost},"type":"alerting"}}"#,
            r#"],"interval":90,"limit":7,"evaluationTime":0,"lastEvaluation":"{slot}"}}]}}"#
        ),
        slot = slot,
        cost = r#""cost":{"series":0,"samples":0,"cpuSeconds":0,"matchedNothing":false}"#
    );
    assert_eq!(json(&RulesView::of(std::slice::from_ref(&group), &all()).expect("no page")), expected);
    let alerts = json(&AlertsView::of(&[group]));
    assert!(alerts.starts_with(r#"{"alerts":[{"labels":{"alertname":"Down""#), "{alerts}");
}

#[test]
fn before_the_first_evaluation_everything_is_unknown() {
    let group = group("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n");
    let view = json(&RulesView::of(&[group], &all()).expect("no page"));
    assert!(view.contains(r#""state":"unknown""#) && view.contains(r#""health":"unknown""#), "{view}");
    assert!(view.contains(r#""lastEvaluation":"0001-01-01T00:00:00Z""#), "{view}");
}

#[test]
fn the_state_of_a_rule_is_the_gravest_of_its_alerts() {
    let world = World::at(START);
    let group =
        group("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    for: 1m\n    keep_firing_for: 1m\n");
    let both: [(&[(&str, &str)], f64); 2] = [(&[("job", "a")], 1.0), (&[("job", "b")], 1.0)];
    let mut evaluation = 0;
    world.answer("up", move |_, _| {
        evaluation += 1;
        Ok(vector(match evaluation {
            1 => &both[1..],
            2 => &both,
            3 => &both[..1],
            _ => &[],
        }))
    });
    let state = || {
        let view = RulesView::of(std::slice::from_ref(&group), &all()).expect("no page");
        let RuleView::Alerting(rule) = &view.groups[0].rules[0] else { panic!("an alerting rule") };
        let alerts = rule.alerts.as_ref().expect("not excluded").iter();
        let kept = alerts.clone().filter(|alert| alert.keep_firing_since.is_some()).count();
        (rule.state, alerts.map(|alert| alert.state).collect::<Vec<_>>(), kept)
    };
    world.run(&group, MINUTE);
    assert_eq!(state(), ("pending", vec!["pending"], 0));
    world.run(&group, MINUTE);
    assert_eq!(state(), ("firing", vec!["pending", "firing"], 0));
    world.run(&group, MINUTE);
    assert_eq!(state(), ("firing", vec!["firing", "firing"], 1));
    world.run(&group, 2 * MINUTE);
    assert_eq!(state(), ("inactive", vec![], 0), "resolved alerts are not shown");
}

#[test]
fn alerts_can_be_left_out() {
    let group = group("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n");
    let filter = RulesFilter { exclude_alerts: true, ..all() };
    assert!(json(&RulesView::of(&[group], &filter).expect("no page")).contains(r#""alerts":null"#));
}

fn groups(names: &[&str]) -> Vec<SharedGroup> {
    let groups = names.iter().map(|name| format!("- name: {name}\n  rules:\n  - record: {name}\n    expr: up\n"));
    let specs = specs(&format!("groups:\n{}", groups.collect::<String>()));
    specs.into_iter().map(|spec| Arc::new(Mutex::new(Group::new(spec, crate::testing::settings())))).collect()
}

fn page(
    groups: &[SharedGroup],
    groups_max: usize,
    token: Option<String>,
) -> Result<(Vec<String>, Option<String>), String> {
    let filter = RulesFilter { page: Some(Page { groups_max, token }), ..all() };
    let view = RulesView::of(groups, &filter).map_err(|error| error.to_string())?;
    Ok((view.groups.into_iter().map(|group| group.name).collect(), view.group_next_token))
}

#[test]
fn pages_continue_where_the_one_before_ended() {
    let groups = groups(&["c", "a", "b"]);
    let (names, token) = page(&groups, 2, None).expect("first page");
    assert_eq!(names, ["a", "b"]);
    let expected = "1c63e50ce88208bcc1aaa2e9c7b4f1b05d230426c0c62231d3fdd0fbd1242e74";
    assert_eq!(token.as_deref(), Some(expected), "SHA-256 of rules.yml;c");
    assert_eq!(page(&groups, 2, token), Ok((vec!["c".into()], None)));
    assert_eq!(page(&groups, 3, None).expect("all").1, None);
}

#[test]
fn a_page_that_begins_at_a_vanished_group_is_refused() {
    let error = page(&groups(&["a"]), 1, Some("ff".into())).unwrap_err();
    assert_eq!(
        error,
        r#"invalid parameter "group_next_token": invalid group_next_token 'ff'. were rule groups changed?"#
    );
}

#[test]
fn groups_without_an_admitted_rule_vanish() {
    let filter = RulesFilter { rule_names: ["b".to_owned()].into(), ..all() };
    let view = RulesView::of(&groups(&["a", "b"]), &filter).expect("no page");
    assert_eq!(view.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn values_print_with_exponents() {
    let printed = [0.0, -0.0, 1.0, 95.9, 1e21, -2.5e-7, 1e-300, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    assert_eq!(
        printed.map(model::text::format_exponent),
        ["0e+00", "-0e+00", "1e+00", "9.59e+01", "1e+21", "-2.5e-07", "1e-300", "+Inf", "-Inf", "NaN"]
    );
}

#[test]
fn times_print_fractions_only_where_there_are_some() {
    let print = |at: i64| {
        let mut out = Vec::new();
        time(&Timestamp(at), &mut serde_json::Serializer::new(&mut out)).expect("prints");
        String::from_utf8(out).expect("text")
    };
    assert_eq!(print(1_643_114_203 * SECOND), r#""2022-01-25T12:36:43Z""#);
    assert_eq!(print(1_643_114_203_120), r#""2022-01-25T12:36:43.12Z""#);
}

#[test]
fn the_last_evaluations_of_a_rule_are_shown_newest_first() {
    let world = World::at(START);
    let group = group("groups:\n- name: g\n  interval: 1m\n  rules:\n  - record: r\n    expr: up\n");
    let mut evaluation = 0;
    world.answer("up", move |_, _| {
        evaluation += 1;
        match evaluation {
            2 => Err(crate::error::QueryError::Invalid("no".into())),
            _ => Ok(vector(&[(&[("job", "a")], 1.0), (&[("job", "b")], 1.0)])),
        }
    });
    world.run(&group, 3 * MINUTE);
    let (view, is_cut) = RuleHistoryView::of(std::slice::from_ref(&group), &all(), 1);
    assert!(!is_cut);
    let rule = &view.rules[0];
    assert_eq!((rule.file.as_str(), rule.group.as_str(), rule.name.as_str()), ("rules.yml", "g", "r"));
    let shown: Vec<_> = rule.evaluations.iter().map(|past| (past.health, past.samples)).collect();
    assert_eq!(shown, [("ok", 2), ("err", 0), ("ok", 2)]);
    assert!(json(&view).contains(r#""health":"err","lastError":"no"}"#), "{}", json(&view));
    assert!(RuleHistoryView::of(&[group], &all(), 0).1, "more than were asked for");
}
