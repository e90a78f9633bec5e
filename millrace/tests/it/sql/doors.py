"""Asks statements through one of SQL's doors: `doors.py DOOR PORT USER KEY`, the statements as JSON on standard input.

Prints one line of JSON a statement: {"columns": [...], "rows": [[text or null, ...], ...]} or {"error": "..."}.
"""

import datetime
import decimal
import json
import sys
import time


def text(value):
    """A value as the other doors write it, so that answers can be compared."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    if isinstance(value, float):
        return f"~{value!r}"
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).isoformat(timespec="microseconds")
    return str(value)


def answer(cursor):
    columns = [column[0] for column in cursor.description]
    return {"columns": columns, "rows": [[text(value) for value in row] for row in cursor.fetchall()]}


def postgres(port, user, key):
    import psycopg

    return psycopg.connect(host="127.0.0.1", port=port, user=user, password=key, dbname="millrace", autocommit=True)


def flight(port, user, key):
    from adbc_driver_flightsql import dbapi

    options = {"username": user, "password": key}
    return dbapi.connect(f"grpc://127.0.0.1:{port}", db_kwargs=options, autocommit=True)


class Http:
    """`POST /sql` with an Arrow stream as its answer, in the form of the others."""

    def __init__(self, port, key):
        self.url, self.key = f"http://127.0.0.1:{port}/sql?format=arrow", key

    def ask(self, sql):
        import pyarrow
        import urllib.error
        import urllib.request

        request = urllib.request.Request(self.url, data=sql.encode(), headers={"X-Api-Key": self.key})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                table = pyarrow.ipc.open_stream(response.read()).read_all()
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["error"]["message"]) from error
        columns = [column.to_pylist() for column in table.columns]
        return {"columns": table.column_names, "rows": [[text(value) for value in row] for row in zip(*columns)]}

    def close(self):
        pass


def ask(connection, statement):
    if isinstance(connection, Http):
        return connection.ask(statement)
    with connection.cursor() as cursor:
        if isinstance(statement, str):
            cursor.execute(statement)
        else:
            cursor.execute(statement["sql"], statement["parameters"])
        return answer(cursor)


def copied(connection, sql):
    with connection.cursor() as cursor, cursor.copy(sql) as rows:
        data = b"".join(bytes(part) for part in rows)
    return {"columns": [], "rows": [[line] for line in data.decode().splitlines()]}


def cancelled(connection, sql):
    """Begins a statement, cancels it every half second until it ends, and says how long that took."""
    import threading

    begun, ended = time.monotonic(), threading.Event()

    def cancel():
        # A request that comes before the statement has begun is for nothing.
        while not ended.wait(0.5):
            connection.cancel()

    threading.Thread(target=cancel, daemon=True).start()
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            cursor.fetchall()
        return {"error": "it was not cancelled"}
    except Exception as error:  # noqa: BLE001 - any error ends it
        return {"columns": [str(error)], "rows": [[f"{time.monotonic() - begun:.3f}"]]}
    finally:
        ended.set()


def main():
    door, port, user, key = sys.argv[1:5]
    doors = {"postgres": postgres, "flight": flight, "http": lambda port, _, key: Http(port, key)}
    try:
        connection = doors[door](int(port), user, key)
    except Exception as error:  # noqa: BLE001
        print(json.dumps({"error": f"no connection: {error}"}))
        return
    for statement in json.load(sys.stdin):
        try:
            if isinstance(statement, dict) and "cancel" in statement:
                found = cancelled(connection, statement["cancel"])
            elif isinstance(statement, str) and statement.startswith("COPY"):
                found = copied(connection, statement)
            else:
                found = ask(connection, statement)
        except Exception as error:  # noqa: BLE001 - the test judges what comes
            found = {"error": str(error)}
        print(json.dumps(found), flush=True)
    connection.close()


main()
