//! The rules, case by case, as a trader can read them: `tests/cases/*.txt`.
//!
//! ```text
//! case NAME
//! instrument BTC-USDT                        what is priced; X-USD unless said otherwise
//! also USDT-USD                              another priced instrument
//! rule NAME VALUE                            of the priced instrument
//! TIME VENUE trade PRICE QUANTITY            TIME since the start: 250ms, 5s, 2m
//! TIME VENUE@INSTRUMENT ...                  a venue of another instrument
//! TIME VENUE quote BID ASK [BID_QTY ASK_QTY] from a quote channel
//! TIME VENUE book BID ASK                    from a maintained book
//! TIME VENUE ticker LAST VOLUME_24H
//! TIME VENUE block PRICE QUANTITY            a block trade
//! TIME VENUE historic PRICE QUANTITY         a trade from before the subscription
//! TIME VENUE again                           its last trade comes once more
//! TIME VENUE feed trades|quotes|ticker live|silent|gap|down
//! TIME rate INSTRUMENT PRICE
//! TIME clock
//! TIME expect KEY=VALUE ...                  asks for a price and compares it
//! TIME published COUNT                       prices since the last look, none asked for
//! ```
//! `expect` knows `price raw status conf age bid ask mid`, `vwap_1s` and the like, and venues:
//! `binance=USED,WEIGHT,PRICE` with weight and price where they matter. `none` stands for no value or no price.

use std::collections::HashMap;
use std::path::Path;

use model::{
    Channel, Clock, CompositePrice, FeedPhase, FeedState, Instrument, Quantity, Quote, Rate, Refresh, TickBody,
    TickFlags, Ticker,
};

use crate::core_support::{Feeder, MILLI, SECOND, START, config, instrument, price, quantity, trade};

struct Case {
    name: String,
    place: String,
    priced: String,
    also: Vec<String>,
    rules: aggregate::config::Rules,
    steps: Vec<(String, Vec<String>)>,
}

fn read(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap().trim();
        let place = format!("{}:{}", path.file_name().unwrap().display(), number + 1);
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), cases.last_mut()) {
            ([], _) => {}
            (["case", name @ ..], _) => cases.push(Case {
                name: name.join(" "),
                place,
                priced: "X-USD".to_owned(),
                also: Vec::new(),
                rules: aggregate::config::Rules::default(),
                steps: Vec::new(),
            }),
            (["instrument", name], Some(case)) => case.priced = (*name).to_owned(),
            (["also", name], Some(case)) => case.also.push((*name).to_owned()),
            (["rule", name, value @ ..], Some(case)) => {
                case.rules.set(name, &value.join(" ")).unwrap_or_else(|error| panic!("{place}: {error}"));
            }
            (step, Some(case)) => case.steps.push((place, step.iter().map(|word| (*word).to_owned()).collect())),
            (_, None) => panic!("{place}: a step before the first case"),
        }
    }
    cases
}

fn time(text: &str) -> i64 {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let unit = match &text[digits..] {
        "ms" => MILLI,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3_600 * SECOND,
        other => panic!("{other:?} is no unit of time"),
    };
    text[..digits].parse::<i64>().unwrap() * unit
}

struct Player<'a> {
    case: &'a Case,
    feeder: Feeder,
    next_id: u64,
    last_trades: HashMap<String, (i64, TickBody)>,
    seen: usize,
}

impl Player<'_> {
    fn step(&mut self, place: &str, words: &[&str]) {
        let at = START + time(words[0]);
        let case = self.case;
        match &words[1..] {
            ["clock"] => self.feeder.push(at, TickBody::Clock(Clock)),
            ["rate", of, rate] => {
                self.feeder.push(at, TickBody::Rate(Rate { instrument: instrument(of), price: price(rate) }));
            }
            ["published", count] => {
                let prices = self.feeder.prices().filter(|price| price.instrument == instrument(&case.priced)).count();
                assert_eq!((prices - self.seen).to_string(), *count, "{place}: prices published");
                self.seen = prices;
            }
            ["expect", wanted @ ..] => self.expect(place, at, wanted),
            [source, what @ ..] => {
                let (venue, of) = source.split_once('@').unwrap_or((source, &case.priced));
                self.venue(place, at, venue, instrument(of), what);
            }
            [] => panic!("{place}: nothing happens"),
        }
    }

    fn venue(&mut self, place: &str, at: i64, venue: &str, of: Instrument, what: &[&str]) {
        let one = quantity("1");
        let quote = |bid: &str, ask: &str, sizes: (Quantity, Quantity)| {
            let (bid_quantity, ask_quantity) = sizes;
            let (venue, bid, ask) = (venue.parse().unwrap(), price(bid), price(ask));
            TickBody::Quote(Quote { venue, instrument: of, sequence: 0, bid, bid_quantity, ask, ask_quantity })
        };
        let (flags, body) = match what {
            [kind @ ("trade" | "block" | "historic"), price, quantity] => {
                self.next_id += 1;
                let flags = match *kind {
                    "block" => TickFlags::OFF_BOOK,
                    "historic" => TickFlags::HISTORIC,
                    _ => 0,
                };
                (flags, trade(venue, of.as_str(), self.next_id, (price, quantity)))
            }
            ["again"] => {
                let (then, body) = self.last_trades[venue];
                self.feeder.push_as(then, at, TickFlags::default(), body);
                return;
            }
            ["quote", bid, ask] => (0, quote(bid, ask, (one, one))),
            ["quote", bid, ask, b, a] => (0, quote(bid, ask, (quantity(b), quantity(a)))),
            ["book", bid, ask] => (TickFlags::FROM_BOOK, quote(bid, ask, (one, one))),
            ["ticker", last, volume] => {
                let (last, volume_24h) = (price(last), quantity(volume).into());
                let venue = venue.parse().unwrap();
                (0, TickBody::Ticker(Ticker { venue, instrument: of, last, volume_24h, quote_volume_24h: None }))
            }
            ["feed", channel, phase] => {
                let channel = match *channel {
                    "trades" => Channel::Trades,
                    "quotes" => Channel::Quotes,
                    _ => Channel::Ticker,
                };
                let phase = match *phase {
                    "live" => FeedPhase::Live,
                    "silent" => FeedPhase::Silent,
                    "gap" => FeedPhase::Gap,
                    _ => FeedPhase::Down,
                };
                let venue = venue.parse().unwrap();
                (0, TickBody::FeedState(FeedState { venue, instrument: of, channel, phase, missing: 0 }))
            }
            other => panic!("{place}: {other:?} is not a step"),
        };
        if matches!(body, TickBody::Trade(_)) {
            self.last_trades.insert(venue.to_owned(), (at, body));
        }
        self.feeder.push_as(at, at, TickFlags(flags), body);
    }

    fn expect(&mut self, place: &str, at: i64, wanted: &[&str]) {
        let before = self.feeder.out.len();
        let of = instrument(&self.case.priced);
        self.feeder.push(at, TickBody::Refresh(Refresh { instrument: of, id: 7 }));
        let found = self.feeder.out[before..].iter().find_map(|output| match output {
            aggregate::core::Output::Price(price) if price.instrument == of => Some(price.clone()),
            _ => None,
        });
        self.seen = self.feeder.prices().filter(|price| price.instrument == of).count();
        if wanted == ["none"] {
            assert_eq!(found, None, "{place}: a price where there should be none");
            return;
        }
        let found = found.unwrap_or_else(|| panic!("{place}: no price"));
        assert_eq!(found.refresh, Some(7), "{place}");
        for item in wanted {
            let (key, value) = item.split_once('=').unwrap_or_else(|| panic!("{place}: {item:?} is not key=value"));
            let have = value_of(&found, key, value);
            assert_eq!(have, value, "{place}: {key} of {}", serde_json::to_string(&found).unwrap());
        }
    }
}

/// What a price says of `key`, in as many parts as `like` has.
fn value_of(found: &CompositePrice, key: &str, like: &str) -> String {
    let shown = |value: Option<model::Price>| value.map_or_else(|| "none".to_owned(), |value| value.to_string());
    match key {
        "price" => found.price.to_string(),
        "raw" => found.raw.to_string(),
        "status" => serde_json::to_value(found.status).unwrap().as_str().unwrap().to_owned(),
        "conf" => shown(found.confidence),
        "age" => format!("{}ms", found.age_ns / MILLI),
        "bid" => shown(found.bid.map(|level| level.price)),
        "ask" => shown(found.ask.map(|level| level.price)),
        "mid" => shown(found.mid),
        _ => {
            if let Some(window) = key.strip_prefix("vwap_") {
                return shown(found.vwap.iter().find(|one| one.window.as_str() == window).unwrap().price);
            }
            let Some(one) = found.constituents.iter().find(|one| one.venue.as_str() == key) else {
                return "none".to_owned();
            };
            let state = serde_json::to_value(one.state).unwrap().as_str().unwrap().to_owned();
            let parts = [state, one.weight.to_string(), one.price.to_string()];
            parts[..like.split(',').count().min(3)].join(",")
        }
    }
}

#[test]
fn every_case_comes_out_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut count, mut failures) = (0, Vec::new());
    for case in files.iter().flat_map(|file| read(file)) {
        count += 1;
        let mut instruments = vec![(case.priced.as_str(), case.rules.clone())];
        instruments.extend(case.also.iter().map(|name| (name.as_str(), aggregate::config::Rules::default())));
        let mut player = Player {
            feeder: Feeder::new(config(&instruments)),
            case: &case,
            next_id: 0,
            last_trades: HashMap::new(),
            seen: 0,
        };
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for (place, words) in &case.steps {
                player.step(place, &words.iter().map(String::as_str).collect::<Vec<_>>());
            }
        }));
        if let Err(error) = played {
            let what = error.downcast_ref::<String>().cloned().unwrap_or_default();
            failures.push(format!("case {:?} ({}): {what}", case.name, case.place));
        }
    }
    println!("{count} cases");
    assert!(count >= 40, "only {count} cases: is the folder complete?");
    assert!(failures.is_empty(), "{} of {count} cases failed:\n{}", failures.len(), failures.join("\n\n"));
}
