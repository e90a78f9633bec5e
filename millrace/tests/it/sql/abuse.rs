//! Statements that ask for what they may not have, sent to the program: each is refused or stopped within its limit, and
//! the pipeline never notices.

#[path = "../../../../queries/tests/it/statements.rs"]
mod statements;

use std::time::{Duration, Instant};

use super::{BROKEN_OFF, MARKETS, Market};

#[test]
fn each_is_refused_or_stopped_and_the_pipeline_never_notices() {
    let market = Market::open("timeout: 2s, memory: 32MiB, spill: 16MiB, rows: 100000", MARKETS);
    market.wait_for("SELECT count(*) FROM trades", |count| count > 0);
    let newest =
        |name: &str| market.wait_for(&format!("SELECT max(\"offset\") FROM {name} WHERE partition = 0"), |_| true);
    let (mut wrong, mut ticks) = (Vec::new(), newest("ticks"));
    let statements = statements::statements();
    assert!(statements.len() >= 60, "{}", statements.len());
    for (sql, kinds) in &statements {
        let shown: String = sql.chars().take(90).collect();
        let begun = Instant::now();
        let (status, body) = market.sql(sql, "csv");
        let took = begun.elapsed();
        let words: Vec<&str> = kinds.iter().map(|kind| kind.code()).collect();
        // An error after the first row ends the body early; one before it has a status and a code. What is too long
        // for a statement may be too long for a body.
        let is_refused = status >= 400 && words.iter().any(|word| body.contains(word));
        let is_stopped = [BROKEN_OFF, 413].contains(&status) && words.contains(&"sql_limit");
        if !is_refused && !is_stopped {
            let body: String = body.chars().take(300).collect();
            wrong.push(format!("{shown}: {status} {body}, not one of {words:?}"));
        }
        // Two seconds, one of grace, and what a busy machine adds.
        if took > Duration::from_secs(30) {
            wrong.push(format!("{shown}: took {took:?}"));
        }
        if market.running.get("/prices/BTC-USDT").is_none_or(|price| !price.contains("\"price\":")) {
            wrong.push(format!("after {shown} there is no price"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The pipeline went on all the while.
    let before = std::mem::replace(&mut ticks, newest("ticks"));
    assert!(ticks > before, "{before} {ticks}");
    assert_eq!(market.lines("SELECT 1"), ["1"]);
}
