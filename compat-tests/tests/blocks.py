"""Prints what is in a block, as one of three readers sees it: one line per sample, histogram, bucket and exemplar.

Usage: blocks.py pyarrow|polars|duckdb DIRECTORY. Floats are printed as the hexadecimal digits of their bits, NULL as `NULL`.
"""

import json
import os
import struct
import sys

NUMBER = "coalesce({0}mantissa / {0}divisor, {0}raw)"


def bits(value):
    return "NULL" if value is None else struct.pack(">d", value).hex()


def text(labels):
    """Readers give a map as a dictionary, as pairs or as structs."""
    pairs = labels.items() if isinstance(labels, dict) else labels
    pairs = [(pair["key"], pair["value"]) if isinstance(pair, dict) else pair for pair in pairs]
    return json.dumps([list(pair) for pair in pairs], ensure_ascii=False, separators=(",", ":"))


def optional(value):
    return "NULL" if value is None else str(value)


def lines(rows):
    """`rows(kind)` gives dictionaries: times as integers, numbers in their columns, label sets as the reader has them."""
    series = {row["series_id"]: text(row["labels"]) for row in rows("series")}
    times = {row["ts_row"]: row["timestamp"] for row in rows("timelines")}
    where = lambda row: f"{series[row['series_id']]}\t{times[row['ts_row']]}"
    for row in rows("samples"):
        yield f"float\t{where(row)}\t{bits(row['value'])}\t{optional(row['start_ts'])}"
    for row in rows("histograms"):
        bounds = ",".join(map(bits, row["custom_bounds"] or []))
        left_out = f"\t{row['left_out']}" if "left_out" in row else ""
        totals = "\t".join(bits(row[name]) for name in ("zero_threshold", "count", "zero_count", "sum"))
        yield (
            f"histogram\t{where(row)}\t{row['schema']}\t{totals}\t{row['reset_hint']}\t{bounds}\t{optional(row['start_ts'])}{left_out}"
        )
    for row in rows("hist_buckets"):
        side = "negative" if row["negative"] else "positive"
        yield f"bucket\t{where(row)}\t{side}\t{row['bucket']}\t{bits(row['value'])}"
    for row in rows("exemplars"):
        observed = f"{row['timestamp']}\t{bits(row['value'])}\t{optional(row['trace_id'])}\t{text(row['labels'])}"
        yield f"exemplar\t{series[row['series_id']]}\t{observed}"


NUMBERS = {"samples": [("value", "")], "hist_buckets": [("value", "")]}
NUMBERS["histograms"] = [(name, name + "_") for name in ("count", "zero_count", "sum")]


def paths(directory, kind):
    names = [f"{kind}.parquet"] + [f"{kind}-{n}.parquet" for n in range(1, 100)]
    return [path for path in (os.path.join(directory, name) for name in names) if os.path.exists(path)]


def with_pyarrow(directory):
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    def rows(kind):
        for path in paths(directory, kind):
            table = pq.read_table(path)
            for name, prefix in NUMBERS.get(kind, []):
                quotient = pc.divide(pc.cast(table[prefix + "mantissa"], pa.float64()), table[prefix + "divisor"])
                table = table.append_column(name, pc.coalesce(quotient, table[prefix + "raw"]))
            for index, field in enumerate(table.schema):
                if pa.types.is_timestamp(field.type):
                    table = table.set_column(index, field.name, table[field.name].cast(pa.int64()))
            yield from table.to_pylist()

    return rows


def with_polars(directory):
    import polars as pl

    def rows(kind):
        for path in paths(directory, kind):
            frame = pl.scan_parquet(path, hive_partitioning=False)
            for name, prefix in NUMBERS.get(kind, []):
                quotient = pl.col(prefix + "mantissa") / pl.col(prefix + "divisor")
                frame = frame.with_columns(pl.coalesce(quotient, pl.col(prefix + "raw")).alias(name))
            frame = frame.with_columns(pl.selectors.datetime().dt.epoch("ms")).collect()
            yield from frame.iter_rows(named=True)

    return rows


def with_duckdb(directory):
    import duckdb

    connection = duckdb.connect()

    def rows(kind):
        for path in paths(directory, kind):
            types = connection.execute("SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM read_parquet(?))", [path])
            columns = []
            for name, kind_of in types.fetchall():
                quoted = '"' + name.replace('"', '""') + '"'
                if kind_of.startswith("TIMESTAMP"):
                    columns.append(f"epoch_ms({quoted}) AS {quoted}")
                elif kind_of.startswith("MAP"):
                    columns.append(f"map_entries({quoted}) AS {quoted}")
                else:
                    columns.append(quoted)
            columns += [f"{NUMBER.format(prefix)} AS {name}" for name, prefix in NUMBERS.get(kind, [])]
            result = connection.execute(f"SELECT {', '.join(columns)} FROM read_parquet(?)", [path])
            names = [description[0] for description in result.description]
            for values in result.fetchall():
                yield dict(zip(names, values))

    return rows


def main():
    reader, directory = sys.argv[1:]
    rows = {"pyarrow": with_pyarrow, "polars": with_polars, "duckdb": with_duckdb}[reader](directory)
    sys.stdout.reconfigure(encoding="utf-8")
    for line in sorted(lines(rows)):
        print(line)


main()
