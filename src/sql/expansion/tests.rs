use super::*;
use crate::sql::statement::parse;

fn refusal(text: &str) -> Option<String> {
    check(&parse(text).unwrap()).err().map(|failure| failure.to_string())
}

/// `count` queries of which each reads the one before `reads` times.
fn chain(count: usize, reads: usize) -> String {
    let queries = (1..count).map(|i| {
        let read = format!("SELECT x FROM c{}", i - 1);
        format!(", c{i} AS ({})", vec![read; reads].join(" UNION ALL "))
    });
    format!("WITH c0 AS (SELECT 1 AS x){} SELECT x FROM c{}", queries.collect::<String>(), count - 1)
}

#[test]
fn queries_that_read_each_other_are_counted_wherever_they_are_read() {
    assert_eq!(refusal(&chain(300, 1)), None);
    assert_eq!(refusal(&chain(10, 2)), None);
    let refused = refusal(&chain(11, 2)).unwrap();
    assert!(refused.contains("it has 1024 tables") && refused.contains("at most 1000"), "{refused}");
    assert!(refusal(&chain(40, 2)).unwrap().contains("tables"));
    // Below EXPLAIN, in a query inside, and with names in quotes.
    assert!(refusal(&format!("EXPLAIN {}", chain(40, 2))).is_some());
    assert!(refusal(&format!("SELECT * FROM ({})", chain(40, 2))).is_some());
    assert!(refusal(&format!("SELECT 1 WHERE 1 IN ({})", chain(40, 2))).is_some());
    assert!(refusal(&chain(40, 2).replace("c39", "\"c 39\"")).is_some());
    // Not yet defined where it is read, so a table of that name.
    assert_eq!(refusal("WITH up AS (SELECT * FROM up) SELECT * FROM up"), None);
}

#[test]
fn grouping_sets_are_multiplied() {
    let group_by = |what: &str| refusal(&format!("SELECT count(*) FROM up GROUP BY {what}"));
    let columns = |count: usize| (0..count).map(|i| format!("c{i}")).collect::<Vec<_>>().join(",");
    assert_eq!(group_by(&columns(100)), None);
    assert_eq!(group_by(&format!("CUBE({})", columns(10))), None);
    assert!(group_by(&format!("CUBE({})", columns(11))).unwrap().contains("2048 grouping sets"));
    assert!(group_by(&format!("CUBE({})", columns(100))).unwrap().contains("more than can be counted"));
    assert!(group_by("CUBE(a,b,c,d,e), CUBE(f,g,h,i,j), ROLLUP(k)").unwrap().contains("2048"));
    assert_eq!(group_by(&format!("ROLLUP({})", columns(500))), None);
    assert!(group_by(&format!("a, b, ROLLUP({}), ROLLUP({})", columns(50), columns(50))).is_some());
    assert!(group_by(&format!("GROUPING SETS ({})", columns(1_025))).unwrap().contains("1025"));
    // A few sets, read often.
    let read = vec!["SELECT * FROM c"; 20].join(" UNION ALL ");
    let text = format!("WITH c AS (SELECT count(*) FROM up GROUP BY CUBE({})) {read}", columns(6));
    assert!(refusal(&text).unwrap().contains("grouping sets"));
}

#[test]
fn what_is_written_out_in_full_is_multiplied() {
    let nested = |open: &str, close: &str, depth: usize| {
        refusal(&format!("SELECT {}x{} FROM up", open.repeat(depth), close.repeat(depth)))
    };
    for (open, close) in [("coalesce(", ", 1)"), ("nvl(", ", 1)"), ("(", " BETWEEN false AND true)")] {
        assert_eq!(nested(open, close, 10), None, "{open}");
        assert!(nested(open, close, 30).unwrap().contains("terms"), "{open}");
    }
    assert!(nested("", " IN (true, false)", 30).is_some());
    assert_eq!(nested("abs(", ")", 30), None);
    let long = vec!["x"; 5_000].join(",");
    assert_eq!(refusal(&format!("SELECT x IN ({long}) FROM up")), None);
}

#[test]
fn tables_of_one_join_are_bounded() {
    let joined = |count: usize| refusal(&format!("SELECT 1 FROM {}", vec!["up"; count].join(", ")));
    assert_eq!(joined(100), None);
    assert!(joined(101).unwrap().contains("101 tables in one FROM"));
    let joins = " JOIN up USING (job)".repeat(100);
    assert!(refusal(&format!("SELECT 1 FROM up{joins}")).is_some());
}

#[test]
fn columns_of_one_list_are_bounded() {
    let columns = |count: usize| (0..count).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    for text in ["SELECT @", "SELECT 1 FROM up GROUP BY @", "SELECT 1 |> EXTEND @"] {
        assert_eq!(refusal(&text.replace('@', &columns(2_000))), None, "{text}");
        let refused = refusal(&text.replace('@', &columns(2_001)));
        assert!(refused.is_some_and(|refused| refused.contains("2001 columns")), "{text}");
    }
    for text in
        ["SELECT 1 FROM up ORDER BY @", "SELECT sum(x) OVER (PARTITION BY @) FROM up", "SELECT array_agg(x ORDER BY @)"]
    {
        assert_eq!(refusal(&text.replace('@', &columns(100))), None, "{text}");
        assert!(refusal(&text.replace('@', &columns(101))).is_some_and(|told| told.contains("101 members")), "{text}");
    }
    let windows = |count: usize| refusal(&format!("SELECT {}", vec!["sum(x) OVER ()"; count].join(",")));
    assert_eq!(windows(100), None);
    assert!(windows(101).is_some_and(|refused| refused.contains("101 windows")));
}
