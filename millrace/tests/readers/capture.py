"""Recorded frames, computed from their JSON, beside the tables that a replay of them left.

    capture.py duckdb LAKE FRAMES.gz...
    capture.py millrace PROGRAM LAKE FRAMES.gz...

Prints one JSON object: what was compared, and the first differences. Frames are read by Python's own json, and numbers stay
decimals. The tables are read by DuckDB's delta_scan, so that nothing of Millrace's is believed; or they are asked for in
Millrace's own SQL, so that its answers are known to be the same.
"""
import collections
import csv
import datetime
import decimal
import gzip
import io
import json
import os
import subprocess
import sys

D = decimal.Decimal
# Digits after the point of what `vwap` gives.
SCALE = 16
decimal.getcontext().prec = 60
NAMES = {"BTCUSDT": "BTC-USDT", "ETHUSDT": "ETH-USDT"}
differences = []


def differ(what, ours, theirs):
    if len(differences) < 10:
        differences.append(f"{what}: {ours} in the tables, {theirs} in the frames")


def frames(paths):
    """Trades by instrument and id, quotes as a set, both as the venue sent them."""
    trades, quotes = collections.defaultdict(dict), set()
    for path in paths:
        with gzip.open(path, "rt") as lines:
            for line in lines:
                frame = json.loads(line.split(" ", 1)[1], parse_float=D)
                data = frame.get("data", {})
                if data.get("e") == "trade":
                    trade = (data["T"] * 1_000_000, D(data["p"]), D(data["q"]), "sell" if data["m"] else "buy")
                    known = trades[NAMES[data["s"]]].setdefault(data["t"], trade)
                    assert known == trade, f"two trades with one id: {data}"
                elif frame.get("stream", "").endswith("@bookTicker"):
                    quotes.add((NAMES[data["s"]], data["u"], D(data["b"]), D(data["B"]), D(data["a"]), D(data["A"])))
    return trades, quotes


class DuckDB:
    def __init__(self, lake):
        import duckdb
        import duckdb_extension_delta

        folder = os.path.join(os.path.dirname(duckdb_extension_delta.__file__), "extensions", "v" + duckdb.__version__)
        self.connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
        self.connection.execute("SET TimeZone = 'UTC'")
        self.connection.execute(f"LOAD '{folder}/delta.duckdb_extension'")
        for table in ("ticks", "candles", "prices"):
            self.connection.execute(f"CREATE VIEW {table} AS SELECT * FROM delta_scan('{lake}/{table}')")

    def rows(self, sql, kinds):
        return self.connection.execute(sql).fetchall()


class Millrace:
    """Answers come as text, so each column says how it is read."""

    def __init__(self, program, lake):
        self.command = [program, "sql", "--lake", lake, "--format", "csv"]

    def rows(self, sql, kinds):
        said = subprocess.run([*self.command, sql], capture_output=True, text=True)
        if said.returncode:
            raise RuntimeError(f"{sql}: {said.stderr}")
        answer = csv.reader(io.StringIO(said.stdout))
        next(answer)
        return [tuple(kind(text) for kind, text in zip(kinds, row, strict=True)) for row in answer]


def vwaps_are_exact(tables, trades):
    """Only our SQL has `vwap`: the last digit is rounded half away from zero."""
    sql = "SELECT symbol, count(*), vwap(price, quantity) FROM ticks WHERE kind = 'trade' GROUP BY symbol"
    found = {symbol: (count, average) for symbol, count, average in tables.rows(sql, (str, int, D))}
    for symbol in trades.keys() | found.keys():
        of = trades[symbol].values()
        exact = sum(price * quantity for _, price, quantity, _ in of) / sum(quantity for _, _, quantity, _ in of)
        expected = (len(of), exact.quantize(D(1).scaleb(-SCALE), decimal.ROUND_HALF_UP))
        if found.get(symbol) != expected:
            differ(f"vwap of {symbol}", found.get(symbol), expected)


def every_trade_is_one_row(tables, trades):
    rows = tables.rows(
        "SELECT symbol, trade_id, ts_event_ns, price, quantity, taker_side, \"partition\", \"offset\", venue, date "
        "FROM ticks WHERE kind = 'trade'",
        (str, int, int, D, D, str, int, int, str, datetime.date.fromisoformat),
    )
    found = collections.defaultdict(dict)
    places = set()
    for symbol, number, at, price, quantity, side, partition, offset, venue, date in rows:
        if number in found[symbol]:
            differ(f"{symbol} trade {number}", "two rows", "one")
        found[symbol][number] = (at, price, quantity, side)
        places.add((partition, offset))
        day = datetime.datetime.fromtimestamp(at // 1_000_000_000, datetime.timezone.utc).date()
        if (venue, date) != ("binance", day):
            differ(f"{symbol} trade {number}", (venue, str(date)), ("binance", str(day)))
    if len(places) != len(rows):
        differ("places of rows", len(places), len(rows))
    for symbol in trades.keys() | found.keys():
        for number in trades[symbol].keys() | found[symbol].keys():
            ours, theirs = found[symbol].get(number), trades[symbol].get(number)
            if ours != theirs:
                differ(f"{symbol} trade {number}", ours, theirs)
    return len(rows)


def quotes_are_the_venues(tables, quotes):
    rows = tables.rows(
        "SELECT symbol, venue_sequence, bid, bid_quantity, ask, ask_quantity FROM ticks "
        "WHERE kind = 'quote' AND NOT from_book",
        (str, int, D, D, D, D),
    )
    for row in rows:
        if row not in quotes:
            differ("quote", row, "none")
    return len(rows)


def vwap(notional, volume):
    return str((notional / volume).quantize(D(1).scaleb(-24)))


def sums_and_vwap(tables, trades):
    """Per instrument, and per instrument and ten seconds; the sums are the engine's. (DuckDB gives the product of two
    18-digit decimals 18 digits, which do not hold it.)"""
    compared = 0
    for seconds in (None, 10):
        rest = "ts_event_ns" if seconds is None else f"ts_event_ns % {seconds * 1_000_000_000}"
        rows = tables.rows(
            f"SELECT symbol, ts_event_ns - {rest} AS start, count(*), sum(quantity), sum(price::DECIMAL(38, 8) * quantity) "
            f"FROM ticks WHERE kind = 'trade' GROUP BY symbol, ts_event_ns - {rest}",
            (str, int, int, D, D),
        )
        ours = {(symbol, at): (count, volume, notional, vwap(notional, volume)) for symbol, at, count, volume, notional in rows}
        theirs = collections.defaultdict(lambda: (0, D(0), D(0)))
        for symbol, of_symbol in trades.items():
            for at, price, quantity, _ in of_symbol.values():
                key = (symbol, 0 if seconds is None else at - at % (seconds * 1_000_000_000))
                count, volume, notional = theirs[key]
                theirs[key] = (count + 1, volume + quantity, notional + price * quantity)
        theirs = {key: (*sums, vwap(sums[2], sums[1])) for key, sums in theirs.items()}
        for key in ours.keys() | theirs.keys():
            if ours.get(key) != theirs.get(key):
                differ(f"sums of {key}, window {seconds}", ours.get(key), theirs.get(key))
        compared += len(ours)
    return compared


def candles_are_the_trades(tables, trades):
    rows = tables.rows(
        "SELECT symbol, start_ns, open, high, low, close, volume, notional, trades, vwap FROM candles "
        "WHERE \"interval\" = '1m'",
        (str, int, D, D, D, D, D, D, int, D),
    )
    minutes = collections.defaultdict(list)
    for symbol, of_symbol in trades.items():
        for number, (at, price, quantity, _) in of_symbol.items():
            minutes[symbol, at // 60_000_000_000].append((at, number, price, quantity))
    seen = set()
    for symbol, start, first, high, low, last, volume, notional, count, average in rows:
        key = (symbol, start // 60_000_000_000)
        if key in seen:
            differ(f"candle {key}", "two rows", "one")
        seen.add(key)
        of = sorted(minutes[key])
        prices = [price for _, _, price, _ in of]
        expected_volume = sum((quantity for *_, quantity in of), D(0))
        expected_notional = sum((price * quantity for _, _, price, quantity in of), D(0))
        expected = (prices[0], max(prices), min(prices), prices[-1], expected_volume, expected_notional, len(of)) if of else None
        if (first, high, low, last, volume, notional, count) != expected:
            differ(f"candle {key}", (first, high, low, last, volume, notional, count), expected)
        elif abs(average - expected_notional / expected_volume) >= D(1).scaleb(-8):
            differ(f"VWAP of candle {key}", average, expected_notional / expected_volume)
    return len(rows)


def main():
    reader, *rest = sys.argv[1:]
    tables, paths = (DuckDB(rest[0]), rest[1:]) if reader == "duckdb" else (Millrace(*rest[:2]), rest[2:])
    trades, quotes = frames(paths)
    if reader == "millrace":
        vwaps_are_exact(tables, trades)
    print(json.dumps({
        "trade_frames": sum(map(len, trades.values())),
        "trade_rows": every_trade_is_one_row(tables, trades),
        "quote_rows": quotes_are_the_venues(tables, quotes),
        "windows": sums_and_vwap(tables, trades),
        "candles": candles_are_the_trades(tables, trades),
        "prices": tables.rows("SELECT count(*) FROM prices", (int,))[0][0],
        "differences": differences,
    }))


main()
