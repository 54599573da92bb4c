use super::*;
use crate::testing::spec;

fn parameters(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').expect("name=value")).map(|(n, v)| (n.into(), v.into())).collect()
}

fn filter(url: &str) -> Result<RulesFilter, String> {
    RulesFilter::from_parameters(&parameters(url), &[]).map_err(|error| error.to_string())
}

#[test]
fn parameters_that_cannot_be_understood_are_named() {
    for (url, message) in [
        ("type=foo", r#"invalid parameter "type": not supported value "foo""#),
        (
            "exclude_alerts=maybe",
            r#"invalid parameter "exclude_alerts": error converting exclude_alerts: strconv.ParseBool: parsing "maybe": invalid syntax"#,
        ),
        (
            "group_next_token=x",
            r#"invalid parameter "group_next_token": group_limit needs to be present in order to paginate over the groups"#,
        ),
        ("group_limit=0", r#"invalid parameter "group_limit": group_limit needs to be greater than 0"#),
        (
            "group_limit=x",
            r#"invalid parameter "group_limit": group_limit needs to be a valid number: strconv.ParseInt: parsing "x": invalid syntax"#,
        ),
        (
            "group_limit=2147483648",
            r#"invalid parameter "group_limit": group_limit needs to be a valid number: strconv.ParseInt: parsing "2147483648": value out of range"#,
        ),
        ("state=on", r#"invalid parameter "state": not supported value "on""#),
        ("health=bad", r#"invalid parameter "health": not supported value "bad""#),
        (r#"match[]={a=~".*"}"#, "match[] must contain at least one non-empty matcher"),
    ] {
        assert_eq!(filter(url).unwrap_err(), message, "{url}");
    }
    assert!(filter("match[]=sum(up)").unwrap_err().contains("parse error"));
}

#[test]
fn parameters_that_select_a_page_or_a_kind_come_from_the_url_only() {
    let form = parameters("type=alert&group_limit=5&exclude_alerts=true&rule_name[]=a");
    let filter = RulesFilter::from_parameters(&[], &form).expect("valid");
    assert_eq!((filter.kind, filter.page, filter.exclude_alerts), (None, None, false));
    assert_eq!(filter.rule_names.len(), 1);
}

#[test]
fn rules_are_selected_by_kind_name_and_configured_labels() {
    let spec = spec(
        "groups:\n- name: g\n  labels: {team: db}\n  rules:\n  - alert: A\n    expr: up\n    labels: {sev: page}\n  - record: \
         r\n    expr: up\n",
    );
    let admitted = |url: &str| -> Vec<&str> {
        let filter = filter(url).expect("valid");
        let rules = spec.rules.iter().filter(|rule| filter.admits_rule(rule));
        rules.map(|rule| rule.name.as_str()).collect()
    };
    assert_eq!(admitted(""), ["A", "r"]);
    assert_eq!(admitted("type=ALERT"), ["A"]);
    assert_eq!(admitted("type=record"), ["r"]);
    assert_eq!(admitted("rule_name[]=r&rule_name[]=x"), ["r"]);
    assert_eq!(admitted(r#"match[]={team="db"}"#), ["A", "r"]);
    assert_eq!(admitted(r#"match[]={team="db",sev!="page"}"#), ["r"]);
    assert_eq!(admitted(r#"match[]={sev="page"}&match[]={team="web"}"#), ["A"]);
    assert!(admitted(r#"match[]={alertname="A"}"#).is_empty(), "the name is no configured label");
}

#[test]
fn groups_are_selected_by_name_and_file() {
    let admits = |url: &str| filter(url).expect("valid").admits_group("rules.yml", "g");
    assert!(admits("") && admits("rule_group[]=g") && admits("file[]=rules.yml&rule_group[]=g"));
    assert!(!admits("rule_group[]=h") && !admits("file[]=other.yml&rule_group[]=g"));
}

#[test]
fn rules_are_selected_by_the_state_of_their_alerts_and_by_health() {
    let admits = |url: &str, state, health| filter(url).expect("valid").admits_outcome(state, health);
    assert!(admits("state=Firing", Some("firing"), "ok") && !admits("state=firing", Some("pending"), "ok"));
    assert!(!admits("state=firing", None, "ok"), "recording rules have no state");
    assert!(admits("health=err", None, "err") && !admits("health=err&state=firing", Some("firing"), "ok"));
}
