use super::fixture::Fixture;

#[tokio::test]
async fn results_of_promql_are_tables() {
    let fixture = Fixture::new();
    let rate =
        "promql('sum by (job) (rate(requests_total[1m]))', '1970-01-01T00:05:00Z', '1970-01-01T00:06:00Z', '30s')";
    assert_eq!(fixture.columns(&format!("SELECT * FROM {rate}")).await, "time metric value job labels histogram");
    let rows = fixture.rows(&format!("SELECT time, job, labels, round(value, 3) FROM {rate}")).await;
    let expected = "[\"1970-01-01T00:05:00.000Z\",\"a\",{\"job\":\"a\"},1.067] \
                    [\"1970-01-01T00:05:30.000Z\",\"a\",{\"job\":\"a\"},1.067] \
                    [\"1970-01-01T00:06:00.000Z\",\"a\",{\"job\":\"a\"},1.067]";
    assert_eq!(rows, expected);
    let instant = "SELECT metric, instance, job, value FROM promql('up', TIMESTAMP '1970-01-01 00:05:00') ORDER BY job";
    assert_eq!(fixture.rows(instant).await, r#"["up","x:1","a",1] ["up","y\"1","b",0] ["up",null,"c",2]"#);
    assert_eq!(fixture.rows("SELECT count(*) FROM promql('up')").await, "[0]");
    assert_eq!(fixture.rows("SELECT value FROM promql('1 + 1')").await, "[2]");
}

#[tokio::test]
async fn results_join_with_tables() {
    let fixture = Fixture::new();
    let joined = "SELECT p.job, avg(p.value), count(*) FROM promql('up', 0, 600, 15) p \
                  JOIN up ON up.job = p.job AND up.time = p.time GROUP BY p.job ORDER BY p.job";
    assert_eq!(fixture.rows(joined).await, r#"["a",1,41] ["b",0,41] ["c",1.5,2]"#);
    let relative = "SELECT count(*) FROM promql('vector(1)', now() - INTERVAL '1 hour', now(), INTERVAL '1 minute')";
    assert_eq!(fixture.rows(relative).await, "[61]");
}

#[tokio::test]
async fn what_is_wrong_is_told_in_the_words_of_promql() {
    let fixture = Fixture::new();
    for (text, part) in [
        ("SELECT * FROM promql('sum(')", "parse error"),
        ("SELECT * FROM promql('up[5m]', 0, 10, 1)", "range"),
        ("SELECT * FROM promql('up', 10, 0, 1)", "before the start"),
        ("SELECT * FROM promql(up)", "promql"),
        ("SELECT * FROM promql('\"x\"')", "text"),
        ("SELECT * FROM up, promql(up.job)", "promql"),
    ] {
        let failure = fixture.failure(text).await.to_string();
        assert!(failure.contains(part), "{text}: {failure}");
    }
}
