//! The quick book against the plain one, on random commands of several mixes.

use matcher::book::{Book, NewOrder, Report};
use model::Side;

use crate::naive::NaiveBook;

struct Mix {
    name: &'static str,
    /// Half the width of prices, in ticks.
    width: i64,
    /// How far the middle wanders a step.
    drift: i64,
    /// Of a hundred commands.
    cancels: u32,
    modifies: u32,
    immediate: u32,
}

const COMMANDS: u32 = 1_000_000;

#[test]
fn no_different_execution_in_a_million_commands_a_mix() {
    let mixes = [
        Mix { name: "narrow", width: 5, drift: 0, cancels: 41, modifies: 9, immediate: 15 },
        Mix { name: "wide", width: 3_000, drift: 1, cancels: 45, modifies: 5, immediate: 15 },
        Mix { name: "swinging", width: 60, drift: 40, cancels: 40, modifies: 15, immediate: 5 },
        Mix { name: "sweeping", width: 20, drift: 3, cancels: 10, modifies: 30, immediate: 50 },
    ];
    for (seed, mix) in mixes.iter().enumerate() {
        run(mix, seed as u64);
    }
}

fn run(mix: &Mix, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut quick, mut plain) = (Book::new(), NaiveBook::default());
    let (mut got, mut wanted) = (Vec::<Report>::new(), Vec::<Report>::new());
    let mut middle = 100_000i64;
    let mut ids = 0u64;
    for step in 0..COMMANDS {
        middle = (middle + random.i64(-mix.drift..=mix.drift)).max(mix.width + 1);
        let ticks = middle + random.i64(-mix.width..=mix.width);
        let lots = random.u64(0..60);
        let recent = ids.saturating_sub(random.u64(0..600));
        let draw = random.u32(0..100);
        got.clear();
        wanted.clear();
        // Sizes stay small enough for the plain book: when it is long, more is cancelled.
        let long = plain.bids.len() + plain.asks.len() > 300;
        if draw < mix.cancels || long && draw < 70 {
            quick.cancel(recent, &mut got);
            plain.cancel(recent, &mut wanted);
        } else if draw < mix.cancels + mix.modifies {
            quick.modify(recent, ticks, lots, &mut got);
            plain.modify(recent, ticks, lots, &mut wanted);
        } else {
            // Now and then an id that is in use, or was.
            let id = if random.u32(0..50) == 0 { recent } else { ids };
            ids += 1;
            let side = if random.bool() { Side::Buy } else { Side::Sell };
            let order = NewOrder { id, side, ticks, lots, immediate: random.u32(0..100) < mix.immediate };
            quick.place(order, &mut got);
            plain.place(order, &mut wanted);
        }
        assert_eq!(got, wanted, "mix {}, seed {seed}, step {step}", mix.name);
        if step % 10_000 == 0 {
            same_books(&quick, &plain, &format!("mix {}, seed {seed}, step {step}", mix.name));
        }
    }
}

fn same_books(quick: &Book, plain: &NaiveBook, place: &str) {
    assert_eq!(quick.len(), plain.bids.len() + plain.asks.len(), "{place}");
    for (side, orders) in [(Side::Buy, &plain.bids), (Side::Sell, &plain.asks)] {
        let mut expected = orders.iter();
        for level in quick.depth().iter(side) {
            let mut sum = 0;
            for slot in quick.depth().queue(quick.nodes(), level) {
                let node = quick.nodes().get(slot);
                let order = expected.next().unwrap();
                assert_eq!(
                    (node.id, node.lots, quick.depth().ticks(level)),
                    (order.id, order.lots, order.ticks),
                    "{place}"
                );
                sum += node.lots;
            }
            assert_eq!(sum, quick.depth().lots(level), "{place}");
        }
        assert_eq!(expected.next(), None, "{place}");
    }
}
