//! What a core counts for those who watch it. Not part of its state: the shell exports it.

/// Records and outcomes since the core was made or restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Records applied, of any kind.
    pub records: u64,
    /// Records at or below the position, from an older epoch, or seen before.
    pub repeated: u64,
    /// Trades that count.
    pub trades: u64,
    /// Quotes taken.
    pub quotes: u64,
    /// Tickers taken.
    pub tickers: u64,
    /// Trades behind the allowed lateness, left out.
    pub late: u64,
    /// Trades whose id came before, left out.
    pub duplicates: u64,
    /// Block trades and the like, left out.
    pub off_book: u64,
    /// Trades from before the subscription, left out.
    pub historic: u64,
    /// Records whose event time was too far from the time of receipt, and was replaced by it.
    pub skewed: u64,
    /// Records with a price, quantity, volume or time that cannot be used, or that would overflow a sum.
    pub unusable: u64,
    /// Quotes whose bid is above their ask.
    pub crossed: u64,
    /// Records of instruments, rates or venues that the configuration does not know or has no room for.
    pub unknown: u64,
    /// Trades that left a window early because it was full.
    pub displaced: u64,
    /// Refresh requests for instruments that never had a price.
    pub unanswered: u64,
    /// `Configure` records that name another configuration than the one in force.
    pub other_config: u64,
    /// Times that the core's time was set back after the clock it follows had been ahead.
    pub clock_steps: u64,
    /// Prices published.
    pub prices: u64,
    /// Candles written, corrections included.
    pub candles: u64,
    /// Corrections of candles.
    pub revisions: u64,
}
