use super::fixture::Fixture;

#[tokio::test]
async fn conditions_and_columns_reach_the_scan() {
    let fixture = Fixture::new();
    let scan = async |condition: &str| {
        let text = format!("EXPLAIN FORMAT INDENT SELECT value FROM up WHERE {condition}");
        let plan = fixture.plan(&text).await;
        let scan = plan.lines().find(|line| line.contains("StoreScan:")).unwrap_or_else(|| panic!("{plan}"));
        let filtered = if plan.contains("FilterExec") { "filter " } else { "" };
        format!("{filtered}{}", scan.trim().trim_start_matches("StoreScan: "))
    };
    let up = "up{}, series=3, columns=[value]";
    assert_eq!(scan("true").await, up);
    assert_eq!(scan("job = 'a'").await, r#"up{job="a"}, series=1, columns=[value]"#);
    assert_eq!(scan("'a' = job").await, r#"up{job="a"}, series=1, columns=[value]"#);
    assert_eq!(scan("job IN ('a', 'b')").await, r#"up{job=~"a|b"}, series=2, columns=[value]"#);
    assert_eq!(scan("job IN ('a', 'b', 'd', 'e', 'f')").await, r#"up{job=~"a|b|d|e|f"}, series=2, columns=[value]"#);
    assert_eq!(scan("job <> 'a'").await, r#"up{job!="",job!="a"}, series=2, columns=[value]"#);
    assert_eq!(scan("instance <> 'x:1'").await, r#"up{instance!="",instance!="x:1"}, series=1, columns=[value]"#);
    assert_eq!(scan("instance LIKE 'x%'").await, r#"up{instance=~"x.*",instance!=""}, series=1, columns=[value]"#);
    assert!(scan("instance ~ 'x.[0-9]'").await.contains(r#"instance=~"(?s:.*)(?-s:x.[0-9])(?s:.*)""#));
    assert_eq!(
        scan("time >= '1970-01-01T00:05:00Z' AND time < '1970-01-01T00:06:00Z'").await,
        "up{}, time=[1970-01-01T00:05:00Z, 1970-01-01T00:05:59.999Z], series=2, columns=[value]"
    );
    assert!(scan("time > now() - INTERVAL '1 hour'").await.contains("time=["));
    assert!(scan("date_trunc('minute', time) > '1970-01-01'").await.starts_with("filter "));
    assert!(scan("value > 0").await.starts_with("filter "));
}

/// Each condition gives what a computation without any help gives.
#[tokio::test]
async fn pushed_conditions_mean_what_they_say() {
    let fixture = Fixture::new();
    for condition in [
        "job = 'a'",
        "job <> 'a'",
        "instance <> 'x:1'",
        "instance = ''",
        "instance IS NULL",
        "instance IS NOT NULL",
        "NOT (instance = 'x:1')",
        "job IN ('a', 'c')",
        "job NOT IN ('a')",
        "instance NOT IN ('x:1')",
        "instance LIKE '%\"_'",
        "instance NOT LIKE 'x%'",
        "instance ~ '^x'",
        "instance !~ '^x'",
        "job = 'a' OR job = 'b'",
        "job = 'a' OR instance IS NULL",
        "job > 'a'",
        "time = '1970-01-01T00:00:30Z'",
        "time BETWEEN '1970-01-01T00:00:15Z' AND '1970-01-01T00:00:30Z'",
        "time > TIMESTAMP '1970-01-01 00:09:30'",
        "time >= '1970-01-01T00:00:15.0000001Z' AND job = 'a'",
        "value = 2",
    ] {
        let pushed = format!("SELECT count(*), sum(value) FROM up WHERE {condition}");
        // Numbers of rows change with a condition, so that none passes.
        let kept =
            format!("SELECT count(n), sum(value) FROM (SELECT *, row_number() OVER () AS n FROM up) WHERE {condition}");
        let plan = fixture.plan(&format!("EXPLAIN FORMAT INDENT {kept}")).await;
        assert!(plan.contains("FilterExec") && plan.contains("StoreScan: up{}, series=3"), "{condition}: {plan}");
        assert_eq!(fixture.rows(&pushed).await, fixture.rows(&kept).await, "{condition}");
    }
}

#[tokio::test]
async fn only_selected_series_are_read() {
    let fixture = Fixture::new();
    let counted = async |text: &str| {
        let before = fixture.reads.count();
        fixture.rows(text).await;
        fixture.reads.count() - before
    };
    assert_eq!(counted("SELECT sum(value) FROM up").await, 3);
    assert_eq!(counted("SELECT sum(value) FROM up WHERE job = 'a'").await, 1);
    assert_eq!(counted("SELECT sum(value) FROM samples WHERE labels['code'] = '500'").await, 1);
    assert_eq!(counted("SELECT sum(value) FROM up WHERE time > '1970-01-01T00:05:00Z'").await, 2);
    assert_eq!(counted("SELECT labels FROM series").await, 0);
    assert_eq!(counted("SELECT value FROM up WHERE job = 'a' LIMIT 1").await, 1);
    let plan = fixture.plan("EXPLAIN ANALYZE SELECT sum(value) FROM up WHERE job = 'a'").await;
    assert!(plan.contains("series=1") && plan.contains("samples=41"), "{plan}");
}
