//! Which rates turn the price of one instrument into that of another with the same base.

use model::{Instrument, Quantity};

use super::{Method, Outlier, PriceSource, Priced, RuleProblem, Rules, SECOND_NS, Weights};

/// What a converted price is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor {
    /// One.
    Par,
    /// The rate.
    Times(Instrument),
    /// One over the rate.
    Over(Instrument),
    /// The first rate over the second: both are in the same third asset.
    Cross(Instrument, Instrument),
}

/// How the venues of one instrument are counted in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversion {
    /// The instrument that the venues trade.
    pub source: Instrument,
    /// What their prices are multiplied by.
    pub factor: Factor,
}

impl Conversion {
    /// The rates that it needs.
    pub fn rates(&self) -> impl Iterator<Item = Instrument> + use<> {
        let (first, second) = match self.factor {
            Factor::Par => (None, None),
            Factor::Times(rate) | Factor::Over(rate) => (Some(rate), None),
            Factor::Cross(up, down) => (Some(up), Some(down)),
        };
        first.into_iter().chain(second)
    }
}

/// Finds the conversion of each source among the instruments that are priced anyway.
pub(super) fn resolve(
    target: Instrument,
    rules: &Rules,
    all: &[(Instrument, Rules)],
    problems: &mut Vec<RuleProblem>,
) -> Vec<Conversion> {
    let mut complain = |what| problems.push(RuleProblem { instrument: target, rule: "convert", what });
    let named = |base: &str, quote: &str| {
        all.iter().map(|(instrument, _)| *instrument).find(|one| one.base() == base && one.quote() == quote)
    };
    if rules.convert.len() > Rules::CONVERT_MAX {
        complain(format!("{} instruments, at most {}", rules.convert.len(), Rules::CONVERT_MAX));
    }
    let mut found = Vec::with_capacity(rules.convert.len());
    for (at, source) in rules.convert.iter().enumerate() {
        if source.base() != target.base() || source.quote() == target.quote() {
            complain(format!("{source} not allowed: {} priced in another asset is", target.base()));
            continue;
        }
        if rules.convert[..at].contains(source) {
            complain(format!("{source} is named twice"));
            continue;
        }
        let window = all.iter().find(|(one, _)| one == source).map(|(_, own)| own.window_ns);
        if window.is_some_and(|window_ns| window_ns != rules.window_ns) {
            complain(format!("{source} has another window.size: both must have the same"));
        }
        let (from, to) = (source.quote(), target.quote());
        let factor = if rules.assume_par {
            Some(Factor::Par)
        } else if let Some(rate) = named(to, from) {
            Some(Factor::Over(rate))
        } else if let Some(rate) = named(from, to) {
            Some(Factor::Times(rate))
        } else if let (Some(up), Some(down)) = (named(from, "USD"), named(to, "USD")) {
            Some(Factor::Cross(up, down))
        } else {
            None
        };
        match factor {
            Some(factor) => found.push(Conversion { source: *source, factor }),
            None => complain(format!(
                "no rate for {source}: add {to}-{from} to the instruments, or set assume_par to take {from} for {to}"
            )),
        }
    }
    found
}

/// A rate must not depend on another rate, or publications could chase each other for ever. Sources without
/// rules of their own must be asked for the same window by all.
pub(super) fn check_rates(priced: &[Priced], problems: &mut Vec<RuleProblem>) {
    let depends = |one: &Priced| one.conversions.iter().any(|conversion| conversion.rates().next().is_some());
    for one in priced {
        for rate in one.conversions.iter().flat_map(Conversion::rates) {
            if priced.iter().any(|other| other.instrument == rate && depends(other)) {
                let what = format!("rate {rate} is itself converted: a rate must stand on its own venues");
                problems.push(RuleProblem { instrument: one.instrument, rule: "convert", what });
            }
        }
        for conversion in &one.conversions {
            let window_of = |other: &Priced| {
                let shares = other.conversions.iter().any(|theirs| theirs.source == conversion.source);
                (shares && other.rules.window_ns != one.rules.window_ns).then_some(other.instrument)
            };
            if let Some(other) = priced.iter().find_map(window_of) {
                let what =
                    format!("{} and {other} convert {} over different windows", one.instrument, conversion.source);
                problems.push(RuleProblem { instrument: one.instrument, rule: "window.size", what });
            }
        }
    }
}

impl Rules {
    /// Notes every value that is out of its limits or does not go with another.
    pub(super) fn check(&self, complain: &mut dyn FnMut(&'static str, String)) {
        const DAY_NS: i64 = 86_400 * SECOND_NS;
        let step_ns = if self.window_ns <= 3_600 * SECOND_NS { SECOND_NS } else { 60 * SECOND_NS };
        if self.window_ns < SECOND_NS || self.window_ns > DAY_NS || self.window_ns % step_ns != 0 {
            complain("window.size", "1s to 24h is allowed: whole seconds to 1h, whole minutes above".to_owned());
        }
        if self.method == Method::PartitionVwm && self.window_ns > 60 * SECOND_NS {
            complain("window.size", "partition_vwm keeps every trade: at most 60s".to_owned());
        }
        let mut within = |rule, value: i64, least: i64, most: i64, unit: i64, name: &str| {
            if value < least || value > most {
                complain(rule, format!("{}{name} to {}{name} is allowed", least / unit, most / unit));
            }
        };
        let millisecond = SECOND_NS / 1_000;
        within("window.allowed_lateness", self.allowed_lateness_ns, 0, 600 * SECOND_NS, SECOND_NS, "s");
        within("window.idle_after", self.idle_after_ns, 0, 600 * SECOND_NS, SECOND_NS, "s");
        within("window.partitions", i64::from(self.partitions), 1, 60, 1, "");
        within("rejoin_after", self.rejoin_after_ns, 0, DAY_NS, SECOND_NS, "s");
        let stale = &self.stale_after;
        for (rule, value) in [
            ("stale_after.trades", stale.trades_ns),
            ("stale_after.quotes", stale.quotes_ns),
            ("stale_after.books", stale.books_ns),
            ("stale_after.tickers", stale.tickers_ns),
            ("stale_after.volumes", stale.volumes_ns),
            ("stale_after.rates", stale.rates_ns),
        ] {
            within(rule, value, 100 * millisecond, DAY_NS, millisecond, "ms");
        }
        within("max_clock_skew", self.max_clock_skew_ns, 0, DAY_NS, SECOND_NS, "s");
        within("publish.heartbeat", self.publish.heartbeat_ns, millisecond, DAY_NS, millisecond, "ms");
        within("publish.min_interval", self.publish.min_interval_ns, 0, 3_600 * SECOND_NS, millisecond, "ms");
        within("min_inliers", i64::from(self.min_inliers), 1, 32, 1, "");
        within("min_trades", i64::from(self.min_trades), 0, 1_000_000, 1, "");
        within("min_venues", i64::from(self.min_venues), 1, 32, 1, "");
        within("min_venues_ok", i64::from(self.min_venues_ok), 1, 32, 1, "");
        within("dedup_ids", i64::from(self.dedup_ids), 1, 1 << 20, 1, "");
        within("trades_kept", i64::from(self.trades_kept), 1, 1 << 24, 1, "");
        self.check_numbers(complain);
    }

    fn check_numbers(&self, complain: &mut dyn FnMut(&'static str, String)) {
        let parts = |value: Quantity, most: i64| value.is_positive() && value.raw() <= most;
        let one = Quantity::ONE.raw();
        if !parts(self.band, one - 1) {
            complain("band", format!("{} not allowed: above 0 and below 1 (100%)", self.band));
        }
        if self.max_venue_weight.is_some_and(|weight| !parts(weight, one)) {
            complain("max_venue_weight", "above 0 and at most 1 is allowed".to_owned());
        }
        if !parts(self.mad_k, 1_000 * one) {
            complain("mad_k", format!("{} not allowed: above 0 and at most 1000", self.mad_k));
        }
        if !parts(self.max_spread_bps, 20_000 * one) {
            complain("max_spread_bps", format!("{} not allowed: above 0 and at most 20000", self.max_spread_bps));
        }
        let deviation = self.publish.deviation_bps;
        if deviation != Quantity::ZERO && !parts(deviation, 10_000 * one) {
            complain("publish.deviation_bps", format!("{deviation} not allowed: 0 to 10000"));
        }
        if self.min_volume.raw() < 0 {
            complain("min_volume", format!("{} not allowed: at least 0", self.min_volume));
        }
        if self.tick.is_some_and(|tick| !tick.is_positive()) {
            complain("tick", "above 0 is allowed".to_owned());
        }
        let fixed = self.weights() == Weights::Fixed;
        if fixed == self.fixed_weights.is_empty() {
            complain("fixed_weights", "goes with weights: fixed, one weight per venue, and only with it".to_owned());
        }
        for (at, (venue, weight)) in self.fixed_weights.iter().enumerate() {
            if !weight.is_positive() || self.fixed_weights[..at].iter().any(|(other, _)| other == venue) {
                complain("fixed_weights", format!("{venue}: one weight above 0 per venue"));
            }
        }
        if self.method == Method::PartitionVwm && self.price_source != PriceSource::TradeVwap {
            complain("price_source", "partition_vwm goes with trade_vwap only".to_owned());
        }
        if self.method == Method::CappedMedian && self.outlier() != Outlier::Clamp {
            complain("outlier", "capped_median clamps: another rule goes with another method".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn problems(instruments: &[(&str, &[(&str, &str)])]) -> Vec<String> {
        let instruments = instruments.iter().map(|(name, pairs)| {
            let mut rules = Rules::default();
            pairs.iter().for_each(|(name, value)| rules.set(name, value).expect("a value"));
            (name.parse().expect("an instrument"), rules)
        });
        match Config::new(instruments.collect()) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let found = problems(&[
            ("BTC-USDT", &[("convert", "BTC-USD, ETH-USD, BTC-USDT"), ("window.size", "1500ms"), ("band", "100%")]),
            ("ETH-USDT", &[("weights", "fixed"), ("min_inliers", "0"), ("publish.heartbeat", "0ms")]),
            ("ETH-USDT", &[("method", "partition_vwm"), ("window.size", "5m")]),
        ]);
        let expected = [
            "BTC-USDT: window.size: 1s to 24h is allowed: whole seconds to 1h, whole minutes above",
            "BTC-USDT: band: 1 not allowed: above 0 and below 1 (100%)",
            "ETH-USDT: publish.heartbeat: 1ms to 86400000ms is allowed",
            "ETH-USDT: min_inliers: 1 to 32 is allowed",
            "ETH-USDT: fixed_weights: goes with weights: fixed, one weight per venue, and only with it",
            "ETH-USDT: instruments: named twice",
            "ETH-USDT: window.size: partition_vwm keeps every trade: at most 60s",
            "BTC-USDT: convert: no rate for BTC-USD: add USDT-USD to the instruments, or set assume_par to take USD \
             for USDT",
            "BTC-USDT: convert: ETH-USD not allowed: BTC priced in another asset is",
            "BTC-USDT: convert: BTC-USDT not allowed: BTC priced in another asset is",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn rates_must_stand_on_their_own() {
        let ok: &[(&str, &[(&str, &str)])] = &[("BTC-USDT", &[("convert", "BTC-USD")]), ("USDT-USD", &[])];
        assert_eq!(problems(ok), Vec::<String>::new());
        let found = problems(&[
            ("BTC-USDT", &[("convert", "BTC-USD")]),
            ("USDT-USD", &[("convert", "USDT-USDC")]),
            ("USDC-USD", &[]),
        ]);
        assert_eq!(
            found,
            ["BTC-USDT: convert: rate USDT-USD is itself converted: a rate must stand on its own venues"]
        );
        let found = problems(&[
            ("BTC-USDT", &[("convert", "BTC-EUR"), ("assume_par", "true")]),
            ("BTC-USD", &[("convert", "BTC-EUR"), ("assume_par", "true"), ("window.size", "1s")]),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("convert BTC-EUR over different windows"), "{found:?}");
    }
}
