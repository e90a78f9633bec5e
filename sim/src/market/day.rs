//! A venue's rolling 24-hour figures of one instrument, by the minute.

const MINUTES: usize = 1_440;
const MINUTE_NANOS: u64 = 60_000_000_000;

#[derive(Debug, Clone, Copy)]
struct Minute {
    lots: i64,
    /// Sum of ticks times lots.
    turnover: i128,
    open: i64,
    high: i64,
    low: i64,
}

/// The last 24 hours. Before the start the instrument traded evenly at its first price.
#[derive(Debug, Clone)]
pub(crate) struct Day {
    minutes: Vec<Minute>,
    /// Minutes since the start; the current one is `minutes[current % MINUTES]`.
    current: u64,
    lots: i128,
    turnover: i128,
    high: i64,
    low: i64,
    last: i64,
    trades: u64,
}

impl Day {
    /// A day in which `lots` traded at `price` ticks.
    pub(crate) fn new(lots: i64, price: i64) -> Self {
        let each = lots / MINUTES as i64;
        let turnover = i128::from(each) * i128::from(price);
        let minute = Minute { lots: each, turnover, open: price, high: price, low: price };
        Self {
            minutes: vec![minute; MINUTES],
            current: 0,
            lots: i128::from(each) * MINUTES as i128,
            turnover: turnover * MINUTES as i128,
            high: price,
            low: price,
            last: price,
            trades: 0,
        }
    }

    /// Counts a trade.
    pub(crate) fn trade(&mut self, nanos: u64, price: i64, lots: i64) {
        self.advance(nanos);
        let minute = &mut self.minutes[(self.current % MINUTES as u64) as usize];
        minute.lots += lots;
        minute.turnover += i128::from(price) * i128::from(lots);
        minute.high = minute.high.max(price);
        minute.low = minute.low.min(price);
        self.lots += i128::from(lots);
        self.turnover += i128::from(price) * i128::from(lots);
        self.high = self.high.max(price);
        self.low = self.low.min(price);
        self.last = price;
        self.trades += 1;
    }

    fn advance(&mut self, nanos: u64) {
        let minute = nanos / MINUTE_NANOS;
        if minute == self.current {
            return;
        }
        while self.current < minute {
            self.current += 1;
            let slot = &mut self.minutes[(self.current % MINUTES as u64) as usize];
            self.lots -= i128::from(slot.lots);
            self.turnover -= slot.turnover;
            *slot = Minute { lots: 0, turnover: 0, open: self.last, high: self.last, low: self.last };
        }
        self.high = self.minutes.iter().map(|minute| minute.high).max().unwrap_or(self.last);
        self.low = self.minutes.iter().map(|minute| minute.low).min().unwrap_or(self.last);
    }

    /// Lots traded.
    pub(crate) fn lots(&self) -> i128 {
        self.lots
    }

    /// Lots traded in the current minute and those before it, this many together.
    pub(crate) fn lots_of_last(&self, minutes: usize) -> i64 {
        let back = |minutes: usize| (self.current as usize % MINUTES + MINUTES - minutes) % MINUTES;
        (0..minutes.min(MINUTES)).map(|minutes| self.minutes[back(minutes)].lots).sum()
    }

    /// Sum of ticks times lots.
    pub(crate) fn turnover(&self) -> i128 {
        self.turnover
    }

    /// Volume-weighted average price in ticks, rounded down.
    pub(crate) fn vwap(&self) -> i64 {
        if self.lots > 0 { (self.turnover / self.lots) as i64 } else { self.last }
    }

    /// Price 24 hours ago, in ticks.
    pub(crate) fn open(&self) -> i64 {
        self.minutes[((self.current + 1) % MINUTES as u64) as usize].open
    }

    /// Highest price, in ticks.
    pub(crate) fn high(&self) -> i64 {
        self.high
    }

    /// Lowest price, in ticks.
    pub(crate) fn low(&self) -> i64 {
        self.low
    }

    /// Last price, in ticks.
    pub(crate) fn last(&self) -> i64 {
        self.last
    }

    /// Trades since the start.
    pub(crate) fn trades(&self) -> u64 {
        self.trades
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yesterday_leaves_the_sums() {
        let mut day = Day::new(1_440_000, 100);
        day.trade(0, 110, 500);
        day.trade(30 * MINUTE_NANOS, 90, 500);
        assert_eq!((day.lots(), day.high(), day.low(), day.last()), (1_440_000 - 30_000 + 1_000, 110, 90, 90));
        day.trade(1_450 * MINUTE_NANOS, 95, 1);
        // Minutes without a trade stand at the price before them, so 110 is still in the day.
        assert_eq!((day.lots(), day.high(), day.low(), day.open()), (501, 110, 90, 110));
        assert_eq!((day.lots_of_last(1), day.lots_of_last(1_421), day.lots_of_last(9_999)), (1, 501, 501));
        assert_eq!(day.vwap(), (500 * 90 + 95) / 501);
        day.trade(1_475 * MINUTE_NANOS, 96, 1);
        assert_eq!((day.lots(), day.high(), day.low(), day.open(), day.trades()), (2, 96, 90, 90, 4));
    }
}
