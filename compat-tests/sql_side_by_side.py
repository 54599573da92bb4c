"""Hearth's SQL and DuckDB over the same blocks: python sql_side_by_side.py http://127.0.0.1:9009 data/blocks [ROUNDS]

Prints the median of each statement in milliseconds. Hearth should hold nothing but blocks: have it flush and merge first
(POST /api/v1/admin/tsdb/flush?wait=true&compact=true). Needs the Python package duckdb.
"""
import sys
import time
import urllib.request

import duckdb

url, blocks = sys.argv[1], sys.argv[2]
rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
raw = f"{blocks}/t=anonymous/res=raw"

# Merged blocks only: what they were made from lies beside them for a while.
MERGED = f"""SELECT block FROM read_json('{raw}/*/*/meta.json', hive_partitioning = true, union_by_name = true) WHERE level = 1"""
VALUE = "coalesce(v.mantissa / v.divisor, v.raw)"
SAMPLES = f"""(FROM read_parquet('{raw}/*/*/samples*.parquet', hive_partitioning = true) WHERE block IN (FROM merged)) v"""
SERIES = f"""JOIN (FROM read_parquet('{raw}/*/*/series.parquet', hive_partitioning = true, union_by_name = true)
    WHERE block IN (FROM merged)) s USING (block, series_id)"""
TIMES = f"""JOIN (FROM read_parquet('{raw}/*/*/timelines.parquet', hive_partitioning = true)
    WHERE block IN (FROM merged)) t USING (block, ts_row)"""

STATEMENTS = [
    (
        "all samples",
        "SELECT count(*), avg(value), max(value) FROM samples",
        f"SELECT count(*), avg({VALUE}), max({VALUE}) FROM {SAMPLES}",
    ),
    (
        "by metric",
        "SELECT metric, avg(value) FROM samples GROUP BY metric",
        f"SELECT metric, avg({VALUE}) FROM {SAMPLES} {SERIES} GROUP BY metric",
    ),
    (
        "one metric by job",
        "SELECT job, avg(value), max(value) FROM http_requests_total GROUP BY job",
        f"SELECT l_job, avg({VALUE}), max({VALUE}) FROM {SAMPLES} {SERIES} WHERE metric = 'http_requests_total' GROUP BY 1",
    ),
    (
        "one metric by job and five minutes",
        "SELECT date_bin(INTERVAL '5 minutes', time) AS t, job, avg(value) FROM http_requests_total GROUP BY 1, 2",
        f"""SELECT time_bucket(INTERVAL '5 minutes', t.timestamp) AS t, l_job, avg({VALUE})
        FROM {SAMPLES} {SERIES} {TIMES} WHERE metric = 'http_requests_total' GROUP BY 1, 2""",
    ),
    (
        "one job of one metric",
        "SELECT avg(value) FROM http_requests_total WHERE job = 'service-001'",
        f"""SELECT avg({VALUE}) FROM {SAMPLES} {SERIES}
        WHERE metric = 'http_requests_total' AND l_job = 'service-001'""",
    ),
]


def median(run):
    times = []
    for _ in range(rounds + 1):
        started = time.time()
        rows = run()
        times.append((time.time() - started) * 1000)
    return sorted(times[1:])[rounds // 2], rows


def hearth(statement):
    request = urllib.request.Request(
        f"{url}/api/v1/sql?format=csv&timeout=10m", statement.encode(), {"Content-Type": "application/sql"}
    )
    return len(urllib.request.urlopen(request).read().decode().strip().splitlines()) - 1


connection = duckdb.connect()
connection.execute("SET max_temp_directory_size = '0KB'")
connection.execute(f"CREATE TABLE merged AS {MERGED}")
print("| statement | rows | hearth ms | DuckDB ms | ratio |\n|---|---|---|---|---|")
for name, ours, theirs in STATEMENTS:
    our_ms, our_rows = median(lambda: hearth(ours))
    their_ms, their_rows = median(lambda: len(connection.execute(theirs).fetchall()))
    rows = our_rows if our_rows == their_rows else f"{our_rows}, not {their_rows}"
    print(f"| {name} | {rows} | {our_ms:.1f} | {their_ms:.1f} | {our_ms / their_ms:.2f} |")
