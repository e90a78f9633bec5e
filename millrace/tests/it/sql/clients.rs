//! Other people's clients: psycopg, ADBC and a plain HTTP request each ask the questions of docs/sql.md, and agree.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use super::{LAKE, MARKETS, Market};
use crate::program::PATIENCE;

/// The interpreter with the clients, where `cargo xtask setup` has put it.
fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/readers/bin/python");
    if python.is_file() {
        return Some(python);
    }
    println!("not run: SQL through psycopg and ADBC ({} is absent: cargo xtask setup)", python.display());
    None
}

/// The questions of the document, in its order.
fn questions() -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sql.md")).unwrap();
    let blocks = text.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(|block| block.split(";\n")).map(|sql| sql.trim().to_owned()).filter(|sql| !sql.is_empty()).collect()
}

impl Market {
    /// Asks through a door: one answer a statement.
    fn ask(&self, python: &Path, door: &str, user: &str, key: &str, statements: &[Value]) -> Vec<Value> {
        let port = match door {
            "postgres" => self.postgres,
            "flight" => self.flight,
            _ => self.place.api,
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sql/doors.py");
        let mut child = Command::new(python)
            .arg(script)
            .args([door, &port.to_string(), user, key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        serde_json::to_writer(child.stdin.take().unwrap(), statements).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let answers: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(!answers.is_empty(), "{door}: {}", String::from_utf8_lossy(&output.stderr));
        answers
    }

    fn ask_one(&self, python: &Path, door: &str, statement: Value) -> Value {
        self.ask(python, door, "trader", &self.key, &[statement]).remove(0)
    }
}

const DOORS: [&str; 3] = ["http", "postgres", "flight"];

/// Rows in an order of their own: statements need not give one.
fn sorted(answer: &Value) -> Value {
    let mut answer = answer.clone();
    if let Some(rows) = answer["rows"].as_array_mut() {
        rows.sort_by_key(Value::to_string);
    }
    answer
}

/// Whether two answers are the same: to the last digit, but for floats, whose sums depend on the order of the rows.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, value)| b.get(name).is_some_and(|other| same(value, other)))
        }
        (Value::String(a), Value::String(b)) => match (a.strip_prefix('~'), b.strip_prefix('~')) {
            (Some(x), Some(y)) => {
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                a == b || (x - y).abs() <= 1e-9 * x.abs().max(y.abs()).max(1e-6)
            }
            _ => a == b,
        },
        _ => a == b,
    }
}

#[test]
fn the_questions_of_the_document_have_one_answer_through_every_door() {
    let Some(python) = python() else { return };
    let market = Market::open("timeout: 60s", &format!("{LAKE}{MARKETS}"));
    market.wait_for("SELECT count(*) FROM ticks WHERE kind = 'trade'", |count| count > 1_000);
    market.wait_for("SELECT count(*) FROM trades", |count| count > 20);
    let questions = questions();
    assert!(questions.len() >= 10, "{}", questions.len());
    let statements: Vec<Value> = questions.iter().map(|sql| json!(sql)).collect();
    // While everything moves each is answered, with the same columns and with rows.
    let answers = DOORS.map(|door| market.ask(&python, door, "trader", &market.key, &statements));
    for (at, question) in questions.iter().enumerate() {
        let [http, postgres, flight] = [0, 1, 2].map(|door| &answers[door][at]["columns"]);
        assert!(http == postgres && http == flight, "{question}: {http} {postgres} {flight}");
        for (door, answers) in DOORS.iter().zip(&answers) {
            let answer = &answers[at];
            assert!(answer["error"].is_null(), "{door}: {question}\n{answer}");
            assert!(!answer["rows"].as_array().unwrap().is_empty(), "{door}: {question}");
        }
    }
    // Over what no longer changes they agree to the last digit. The market's records up to now are put in the place of
    // its tables.
    let ends = market.lines("SELECT table_name, partition, complete FROM watermark");
    for question in &questions {
        if question.contains("FROM watermark") {
            continue;
        }
        let still = json!(standing_still(question, &ends));
        let [http, postgres, flight] = DOORS.map(|door| sorted(&market.ask_one(&python, door, still.clone())));
        assert!(http["error"].is_null() && !http["rows"].as_array().unwrap().is_empty(), "{still}\n{http}");
        assert!(same(&http, &postgres), "{still}\nhttp {http}\npostgres {postgres}");
        assert!(same(&http, &flight), "{still}\nhttp {http}\nflight {flight}");
    }
}

/// The question over each table's records up to these offsets.
fn standing_still(question: &str, ends: &[String]) -> String {
    let mut tables = Vec::new();
    for table in ["ticks", "prices", "trades", "executions", "ledger"] {
        let of_table = ends.iter().filter_map(|line| line.strip_prefix(&format!("{table},"))?.split_once(','));
        let bounds: Vec<String> =
            of_table.map(|(at, end)| format!("(partition = {at} AND \"offset\" < {end})")).collect();
        tables.push(format!("still_{table} AS (SELECT * FROM {table} WHERE {})", bounds.join(" OR ")));
    }
    let mut text = question.to_owned();
    for table in ["ticks", "prices", "trades", "executions", "ledger"] {
        for before in ["FROM ", "JOIN ", "markout(", "window_join("] {
            for after in [" ", "\n", ",", ")"] {
                text = text.replace(&format!("{before}{table}{after}"), &format!("{before}still_{table}{after}"));
            }
        }
    }
    // The second table of `markout`.
    text = text.replace("still_trades, prices,", "still_trades, still_prices,");
    let with = format!("WITH {}", tables.join(", "));
    match text.strip_prefix("WITH ") {
        Some(rest) => format!("{with}, {rest}"),
        None => format!("{with} {text}"),
    }
}

#[test]
fn psycopg_and_adbc_find_what_they_need() {
    let Some(python) = python() else { return };
    let market = Market::open("timeout: 30s", MARKETS);
    market.wait_for("SELECT count(*) FROM trades", |count| count > 0);
    let values = "SELECT 1.25::decimal(18,8), -12345678901234567890.1234567891234567::decimal(38,16), 'a', NULL, \
                  TIMESTAMP '2026-01-02T03:04:05.000006Z', DATE '2026-01-02', true, 7::bigint, 0.1::double";
    for door in DOORS {
        let answer = market.ask_one(&python, door, json!(values));
        let row = &answer["rows"][0];
        assert_eq!(row[0], "1.25000000", "{door}: {answer}");
        assert_eq!(row[1], "-12345678901234567890.1234567891234567", "{door}: {answer}");
        assert!(row[2] == "a" && row[3].is_null(), "{door}: {answer}");
        assert_eq!(row[4], "2026-01-02T03:04:05.000006+00:00", "{door}: {answer}");
        assert!(row[5] == "2026-01-02" && row[6] == "true" && row[7] == "7", "{door}: {answer}");
        assert_eq!(row[8], "~0.1", "{door}: {answer}");
    }
    // Statements with parameters, prepared and asked again: new rows are seen each time.
    for (door, mark) in [("postgres", "%s"), ("flight", "$1")] {
        let sql = format!("SELECT count(*) FROM ticks WHERE symbol = {mark} AND price >= 0");
        let asked = json!({"sql": sql, "parameters": ["BTC-USDT"]});
        let answers = market.ask(&python, door, "trader", &market.key, &[asked.clone(), asked.clone(), asked]);
        let counts: Vec<i64> = answers
            .iter()
            .map(|answer| answer["rows"][0][0].as_str().unwrap_or_else(|| panic!("{answer}")).parse().unwrap())
            .collect();
        assert!(counts[0] > 0 && counts.is_sorted(), "{door}: {counts:?}");
        let refused = market.ask_one(&python, door, json!("DELETE FROM ticks"));
        assert!(refused["error"].as_str().unwrap().contains("may only read"), "{door}: {refused}");
        let refused = market.ask(&python, door, "trader", "00000000000000000000000000000000", &[json!("SELECT 1")]);
        assert!(refused[0]["error"].is_string() && refused[0]["rows"].is_null(), "{door}: {refused:?}");
        let refused = market.ask(&python, door, "nobody", &market.key, &[json!("SELECT 1")]);
        assert!(refused[0]["error"].is_string(), "{door}: {refused:?}");
    }
    let copy = "COPY (SELECT 1 AS one, 'x' AS text) TO STDOUT WITH (FORMAT csv, HEADER)";
    let answer = market.ask_one(&python, "postgres", json!(copy));
    assert_eq!(answer["rows"], json!([["one,text"], ["1,x"]]), "{answer}");
}

#[test]
fn a_cancelled_statement_frees_its_place_at_once() {
    let Some(python) = python() else { return };
    let market = Market::open("timeout: 600s, concurrency: 1", MARKETS);
    market.wait_for("SELECT count(*) FROM ticks", |count| count > 100);
    // Sorting hears of it; nothing else has the one place meanwhile.
    let heavy = "SELECT count(*) FROM (SELECT a.value % 1000 AS x, b.value AS y FROM generate_series(1, 100000) a, \
                 generate_series(1, 100000) b ORDER BY 1, 2) AS t";
    let begun = Instant::now();
    let answer = market.ask_one(&python, "postgres", json!({"cancel": heavy}));
    assert!(answer["error"].is_null(), "{answer}");
    assert_eq!(market.lines("SELECT 1"), ["1"]);
    let took = begun.elapsed();
    // Far below the statement's own ten minutes.
    assert!(took < PATIENCE, "{took:?}: {answer}");
}
