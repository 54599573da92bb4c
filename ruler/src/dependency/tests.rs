use super::*;
use crate::rule_file::RuleFile;
use crate::testing::spec;
use promql::parse::ParseOptions;
use proptest::prelude::*;

/// A group of recording rules `name = expression` and alerts `!Name = expression`.
fn rules(lines: &[&str]) -> Vec<Arc<Rule>> {
    let mut text = String::from("groups:\n- name: g\n  rules:\n");
    for line in lines {
        let (name, expr) = line.split_once(" = ").expect("name = expression");
        let kind = if name.starts_with('!') { "alert" } else { "record" };
        let name = name.trim_start_matches('!');
        text.push_str(&format!("  - {kind}: {name}\n    expr: '{expr}'\n"));
    }
    let file = RuleFile::parse("rules.yml", &text, &ParseOptions::all()).expect("valid rules");
    file.groups.into_iter().flat_map(|group| group.rules).collect()
}

fn batches_of(lines: &[&str]) -> Vec<Vec<usize>> {
    Dependencies::of(&rules(lines)).batches().to_vec()
}

#[test]
fn rules_that_nobody_reads_run_at_once() {
    assert_eq!(batches_of(&["a = sum(x)", "b = sum(y)", "!C = z > 1"]), [vec![0, 1, 2]]);
    assert_eq!(batches_of(&["a = sum(x)"]), [vec![0]]);
    assert!(batches_of(&[]).is_empty());
}

#[test]
fn a_chain_keeps_its_order_and_others_run_beside_it() {
    let lines = ["a = sum(x)", "b = a * 2", "c = rate(b[5m])", "d = sum(y)", "!E = c > 1"];
    assert_eq!(batches_of(&lines), [vec![0, 3], vec![1], vec![2], vec![4]]);
}

#[test]
fn a_rule_that_reads_what_a_later_one_writes_runs_before_it() {
    assert_eq!(batches_of(&["a = b offset 1m", "b = sum(x)"]), [vec![0], vec![1]]);
}

#[test]
fn a_rule_may_read_its_own_past() {
    assert_eq!(batches_of(&["a = a offset 1m + 1", "b = sum(x)"]), [vec![0, 1]]);
}

#[test]
fn rules_that_write_one_name_keep_their_order() {
    assert_eq!(batches_of(&["a = sum(x)", "a = sum(y)", "b = a"]), [vec![0], vec![1], vec![2]]);
}

#[test]
fn names_may_be_patterns_and_stand_in_braces() {
    assert_eq!(batches_of(&["a = sum(x)", "b = {__name__=\"a\"}"]), [vec![0], vec![1]]);
    assert_eq!(batches_of(&["a = sum(x)", "b = {__name__=~\"a|q\"}"]), [vec![0], vec![1]]);
    assert_eq!(batches_of(&["a = sum(x)", "b = {__name__=~\"q.*\"}"]), [vec![0, 1]]);
    assert_eq!(batches_of(&["a = sum(x)", "b = {__name__!=\"a\", __name__=~\".+\"}"]), [vec![0, 1]]);
    assert_eq!(batches_of(&["a = sum(x)", "b = {__name__=\"a\", __name__!~\"a.*\"}"]), [vec![0, 1]]);
}

#[test]
fn a_selector_without_a_name_runs_alone() {
    let lines = ["a = sum(x)", "b = sum(y)", "c = count({job=\"j\"})", "d = sum(z)", "e = sum(w)"];
    assert_eq!(batches_of(&lines), [vec![0, 1], vec![2], vec![3, 4]]);
    assert_eq!(batches_of(&["a = sum(x)", "b = info(y)", "c = sum(z)"]), [vec![0], vec![1], vec![2]]);
}

#[test]
fn alerts_are_read_by_their_names() {
    assert_eq!(batches_of(&["!A = x", "b = ALERTS{alertname=\"A\"}"]), [vec![0], vec![1]]);
    assert_eq!(batches_of(&["!A = x", "b = ALERTS_FOR_STATE{alertname=\"A\"}"]), [vec![0], vec![1]]);
    assert_eq!(batches_of(&["!A = x", "b = ALERTS{alertname=\"B\"}"]), [vec![0, 1]]);
    assert_eq!(batches_of(&["!A = x", "!B = y", "c = count(ALERTS)"]), [vec![0, 1], vec![2]]);
    assert_eq!(batches_of(&["!A = x", "b = A"]), [vec![0, 1]]);
}

#[test]
fn templates_that_ask_queries_may_read_anything() {
    let text = "groups:\n- name: g\n  rules:\n  - record: a\n    expr: x\n  - alert: B\n    expr: y\n    annotations:\n      \
                text: '{{ with query \"a\" }}{{ . | first | value }}{{ end }}'\n";
    assert_eq!(Dependencies::of(&spec(text).rules).batches(), [vec![0], vec![1]]);
}

#[test]
fn who_reads_what_is_missing_is_known() {
    let found = Dependencies::of(&rules(&["a = x", "b = a", "c = y", "d = count({job=\"j\"})", "a = z"]));
    let mut missing = Missing::default();
    let lack = |missing: &Missing| (0..5).filter(|rule| found.lacks(*rule, missing)).collect::<Vec<_>>();
    assert!(lack(&missing).is_empty());
    found.note_missing(4, &mut missing);
    // The first `b` reads of the second `a` is that of the slot before.
    assert!(lack(&missing).is_empty());
    found.note_missing(0, &mut missing);
    assert_eq!(lack(&missing), [1, 3]);
}

#[test]
fn many_patterns_over_many_names_end_in_reading_everything() {
    let lines: Vec<String> = (0..1500).map(|i| format!("a{i} = {{__name__=~\"b{i}.*\"}}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let batches = batches_of(&lines);
    assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 1500);
    assert!(batches.len() > 1);
}

proptest! {
    /// Two rules of one batch have nothing to do with each other, two of different batches that have keep their order.
    #[test]
    fn batches_keep_the_order_of_what_depends(group in proptest::collection::vec((0usize..5, 0usize..6), 1..12)) {
        let lines: Vec<String> = group.iter().map(|(name, read)| match read {
            5 => format!("r{name} = count({{job=\"j\"}})"),
            read => format!("r{name} = r{read}"),
        }).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let batches = batches_of(&lines);
        let batch_of = |rule: usize| batches.iter().position(|batch| batch.contains(&rule)).expect("in a batch");
        for later in 0..group.len() {
            for earlier in 0..later {
                let ((written, read), (name, reads)) = (group[earlier], group[later]);
                let conflict = written == name || reads == written || read == name || read == 5 || reads == 5;
                prop_assert!(!conflict || batch_of(earlier) < batch_of(later), "{lines:?} {batches:?}");
            }
        }
        prop_assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), group.len());
    }
}
