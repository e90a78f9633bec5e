//! Random commands of every kind: money is conserved, holds are what open orders reserve, and every promise about
//! orders holds. `MILLRACE_COMMANDS=10000000` runs more of them, `MILLRACE_SEED=6` one seed only.

use matcher::exchange::{Exchange, Outputs};

use crate::auditor::Auditor;
use crate::workload::Workload;

#[test]
fn a_million_random_commands_break_no_promise() {
    let commands: u64 =
        std::env::var("MILLRACE_COMMANDS").ok().map_or(1_000_000, |text| text.parse().expect("a number of commands"));
    let mut counts = std::collections::BTreeMap::<&str, u64>::new();
    let runs = 20;
    let only: Option<u64> = std::env::var("MILLRACE_SEED").ok().map(|text| text.parse().expect("a seed"));
    for seed in (0..runs).filter(|seed| only.is_none_or(|only| only == *seed)) {
        let mut workload = Workload::new(seed, 8);
        let mut exchange = Exchange::new(seed);
        let mut auditor = Auditor::default();
        let mut out = Outputs::default();
        for (offset, command) in workload.opening() {
            exchange.apply(offset, &command, &mut out);
            auditor.watch(&command, &out, "opening");
        }
        for step in 0..commands / runs {
            let (offset, command) = workload.next();
            let place = || format!("seed {seed}, step {step}");
            exchange.apply(offset, &command, &mut out);
            workload.saw(&out);
            auditor.watch(&command, &out, &place());
            if step % 500 == 0 {
                auditor.compare(&exchange, &place());
            }
        }
        for (what, count) in auditor.counts {
            *counts.entry(what).or_default() += count;
        }
    }
    println!("{counts:?}");
    for needed in [
        "trade",
        "amended",
        "triggered",
        "busted",
        "IOC_REMAINDER",
        "SELF_TRADE",
        "EXPIRED",
        "OCO",
        "MASS_CANCEL",
        "KILL_SWITCH",
        "DEAD_MAN",
        "DAY_OVER",
        "FOK_UNFILLABLE",
        "POST_ONLY_WOULD_TAKE",
        "INSUFFICIENT_FUNDS",
        "NOT_IN_AUCTION",
        "MARKET_HALTED",
        "MARKET_CLOSED",
        "ID_REUSED",
        "TOO_OLD",
        "STOP_WOULD_TRIGGER",
    ] {
        assert!(counts.contains_key(needed), "the commands never led to {needed}: {counts:?}");
    }
}
