"""Prints every row of a Delta table as JSON lines, read by somebody else's reader.

    rows.py duckdb|deltalake PATH COLUMN...

Decimals as text, timestamps as microseconds since 1970.
"""
import datetime
import decimal
import json
import os
import sys


def rows_by_duckdb(path, columns):
    import duckdb
    import duckdb_extension_delta

    folder = os.path.join(os.path.dirname(duckdb_extension_delta.__file__), "extensions", "v" + duckdb.__version__)
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"LOAD '{folder}/delta.duckdb_extension'")
    selected = ", ".join(
        f"epoch_us({name})" if name.startswith("ts_") and not name.endswith("_ns") else f'"{name}"' for name in columns
    )
    return connection.execute(f"SELECT {selected} FROM delta_scan('{path}')").fetchall()


def rows_by_deltalake(path, columns):
    import deltalake

    table = deltalake.DeltaTable(path).to_pyarrow_table(columns=columns)
    return zip(*(column.to_pylist() for column in table.columns))


def plain(value):
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, datetime.datetime):
        return (value - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) // datetime.timedelta(microseconds=1)
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value


def main():
    reader, path, *columns = sys.argv[1:]
    read = {"duckdb": rows_by_duckdb, "deltalake": rows_by_deltalake}[reader]
    for row in read(path, columns):
        print(json.dumps([plain(value) for value in row]))


main()
