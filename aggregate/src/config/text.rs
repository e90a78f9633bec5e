//! Rules by name: how `pipeline.yaml` spells them, and the one canonical text that is hashed.

use std::fmt::{self, Display, Write as _};
use std::str::FromStr;

use model::{Price, Quantity};

use super::{Method, Outlier, PriceSource, Rules, Weights};

/// Names of an enum's values, both ways.
macro_rules! words {
    ($name:ident, $what:literal, $($text:literal => $value:ident),+) => {
        impl $name {
            /// The name in configuration.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text),+ }
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$value),)+
                    _ => Err(format!(concat!("{:?} is not ", $what, ": one of {}"), text, [$($text),+].join(", "))),
                }
            }
        }

        impl Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.pad(self.as_str())
            }
        }
    };
}

words!(Method, "a method",
    "capped_vwap" => CappedVwap, "vwap" => Vwap, "median" => Median, "weighted_median" => WeightedMedian,
    "capped_median" => CappedMedian, "partition_vwm" => PartitionVwm);
words!(PriceSource, "a price source", "trade_vwap" => TradeVwap, "last_trade" => LastTrade, "mid" => Mid);
words!(Weights, "a kind of weights",
    "traded_in_window" => TradedInWindow, "volume_24h" => Volume24h, "equal" => Equal, "fixed" => Fixed);
words!(Outlier, "an outlier rule", "off" => Off, "clamp" => Clamp, "exclude" => Exclude, "mad" => Mad);

/// Every rule that is one value, with how it is read and written.
macro_rules! rules {
    ($($text:literal: $($field:ident).+, $read:ident, $write:ident;)+) => {
        impl Rules {
            /// The names that [`Self::set`] knows, in the order of the canonical text.
            pub const NAMES: &'static [&'static str] = &[$($text),+];

            /// Sets one rule from its text. Lists (`convert`, `candles`) are separated by commas, `fixed_weights`
            /// is `venue=weight` separated by commas, durations are a whole number with `ms`, `s`, `m`, `h` or
            /// `d`, and parts of one may be percentages.
            ///
            /// # Errors
            /// When there is no such rule or the text is no value of it; the message says what would be.
            pub fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
                match name {
                    $($text => { self.$($field).+ = $read(text)?; })+
                    _ => return Err(format!("{name:?} is not a rule: one of {}", Self::NAMES.join(", "))),
                }
                Ok(())
            }

            /// One rule's text as [`Self::set`] reads it; `None` for names that are no rule.
            pub fn get(&self, name: &str) -> Option<String> {
                match name {
                    $($text => Some($write(&self.$($field).+)),)+
                    _ => None,
                }
            }
        }
    };
}

rules! {
    "method": method, word, show;
    "price_source": price_source, word, show;
    "max_spread_bps": max_spread_bps, number, show;
    "window.size": window_ns, duration, show_duration;
    "window.allowed_lateness": allowed_lateness_ns, duration, show_duration;
    "window.idle_after": idle_after_ns, duration, show_duration;
    "window.partitions": partitions, word, show;
    "weights": weights, method_word, show_option;
    "fixed_weights": fixed_weights, weight_list, show_weights;
    "max_venue_weight": max_venue_weight, method_part, show_option;
    "outlier": outlier, method_word, show_option;
    "band": band, part, show;
    "mad_k": mad_k, number, show;
    "min_inliers": min_inliers, word, show;
    "rejoin_after": rejoin_after_ns, duration, show_duration;
    "stale_after.trades": stale_after.trades_ns, duration, show_duration;
    "stale_after.quotes": stale_after.quotes_ns, duration, show_duration;
    "stale_after.books": stale_after.books_ns, duration, show_duration;
    "stale_after.tickers": stale_after.tickers_ns, duration, show_duration;
    "stale_after.volumes": stale_after.volumes_ns, duration, show_duration;
    "stale_after.rates": stale_after.rates_ns, duration, show_duration;
    "max_clock_skew": max_clock_skew_ns, duration, show_duration;
    "min_trades": min_trades, word, show;
    "min_volume": min_volume, number, show;
    "min_venues": min_venues, word, show;
    "min_venues_ok": min_venues_ok, word, show;
    "convert": convert, list, show_list;
    "assume_par": assume_par, word, show;
    "publish.deviation_bps": publish.deviation_bps, number, show;
    "publish.heartbeat": publish.heartbeat_ns, duration, show_duration;
    "publish.min_interval": publish.min_interval_ns, duration, show_duration;
    "tick": tick, tick, show_tick;
    "candles": candles, list, show_list;
    "dedup_ids": dedup_ids, word, show;
    "trades_kept": trades_kept, word, show;
}

impl Rules {
    /// Every rule in one stable text, a line each: equal texts mean equal prices.
    pub fn canonical(&self) -> String {
        let mut text = String::with_capacity(1_024);
        for name in Self::NAMES {
            let value = self.get(name).expect("every name is a rule");
            writeln!(text, "{name}: {value}").expect("writing to a string");
        }
        text
    }
}

fn word<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| format!("{text:?}: {error}"))
}

/// A value, or `default` for the method's own.
fn method_word<T: FromStr<Err: Display>>(text: &str) -> Result<Option<T>, String> {
    if text == "default" { Ok(None) } else { word(text).map(Some) }
}

fn number(text: &str) -> Result<Quantity, String> {
    Quantity::parse_unsigned(text.as_bytes()).map_err(|error| error.to_string())
}

/// A part of one, or a percentage.
fn part(text: &str) -> Result<Quantity, String> {
    let Some(percent) = text.strip_suffix('%') else { return number(text) };
    let percent = number(percent.trim_end())?;
    if percent.raw() % 100 != 0 {
        return Err(format!("{text} has more than 6 decimal places"));
    }
    Ok(Quantity::from_raw(percent.raw() / 100).expect("a hundredth is in range"))
}

fn method_part(text: &str) -> Result<Option<Quantity>, String> {
    if text == "default" { Ok(None) } else { part(text).map(Some) }
}

fn tick(text: &str) -> Result<Option<Price>, String> {
    if text == "auto" {
        return Ok(None);
    }
    Price::parse_unsigned(text.as_bytes()).map(Some).map_err(|error| error.to_string())
}

const UNITS: [(&str, i64); 5] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
];

fn duration(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is not a duration: a whole number and ms, s, m, h or d, as in 250ms");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let count: i64 = text[..digits].parse().map_err(|_| wrong())?;
    let (_, unit_ns) = UNITS.iter().find(|(unit, _)| *unit == &text[digits..]).ok_or_else(wrong)?;
    count.checked_mul(*unit_ns).ok_or_else(wrong)
}

fn list<T: FromStr<Err: Display>>(text: &str) -> Result<Vec<T>, String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(word).collect()
}

fn weight_list<T: FromStr<Err: Display>>(text: &str) -> Result<Vec<(T, Quantity)>, String> {
    let item = |item: &str| {
        let (venue, weight) = item.split_once('=').ok_or_else(|| format!("{item:?} is not venue=weight"))?;
        Ok((word(venue.trim())?, number(weight.trim())?))
    };
    text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(item).collect()
}

fn show<T: Display>(value: &T) -> String {
    value.to_string()
}

fn show_option<T: Display>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "default".to_owned(), T::to_string)
}

fn show_tick(value: &Option<Price>) -> String {
    value.map_or_else(|| "auto".to_owned(), |tick| tick.to_string())
}

fn show_duration(nanos: &i64) -> String {
    let exact = UNITS.iter().find(|(_, unit_ns)| *nanos != 0 && nanos % unit_ns == 0);
    exact.map_or_else(|| format!("{}ms", nanos / 1_000_000), |(unit, unit_ns)| format!("{}{unit}", nanos / unit_ns))
}

fn show_list<T: Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

fn show_weights<T: Display>(items: &[(T, Quantity)]) -> String {
    items.iter().map(|(venue, weight)| format!("{venue}={weight}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_text_reads_back() {
        let mut rules = Rules::default();
        for (name, text) in [
            ("method", "median"),
            ("band", "0.5%"),
            ("window.size", "5m"),
            ("weights", "fixed"),
            ("fixed_weights", "binance=0.5, kraken=2"),
            ("convert", "BTC-USD, BTC-USDC"),
            ("tick", "0.05"),
            ("outlier", "mad"),
        ] {
            rules.set(name, text).expect(name);
        }
        let mut again = Rules::default();
        for line in rules.canonical().lines() {
            let (name, text) = line.split_once(": ").or_else(|| line.split_once(':')).expect("name: value");
            again.set(name, text).expect(line);
        }
        assert_eq!(rules, again);
        assert_eq!(rules.band.to_string(), "0.005");
    }

    #[test]
    fn unknown_names_and_values_say_what_is_known() {
        let mut rules = Rules::default();
        for (name, text, part) in [
            ("metod", "vwap", "is not a rule: one of method"),
            ("method", "mean", "one of capped_vwap"),
            ("band", "3 parts", "is not a decimal number"),
            ("window.size", "60", "is not a duration"),
            ("min_venues", "-1", "invalid digit"),
            ("tick", "-0.01", "is negative"),
        ] {
            let error = rules.set(name, text).expect_err(name);
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(rules, Rules::default());
    }
}
