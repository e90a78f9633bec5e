//! How long each feed of a connection has been silent, and what to do about it.
//!
//! A feed past its time is told as silent and subscribed anew; one that stays silent for as long again makes
//! the connection be renewed. Each renewal that one feed causes doubles the patience with it, up to an hour, so
//! that one dead instrument does not keep cutting the others.

use std::time::Duration;

use model::FeedPhase;
use tokio::time::Instant;

use crate::connector::{Plan, Rules};
use crate::decode::Feed;

/// Longest patience with a feed that stays silent.
const PATIENCE_MAX: Duration = Duration::from_secs(3_600);

/// What the watchdog asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bark {
    /// Tell the feed as silent and subscribe it anew.
    Silent(Feed),
    /// Renew the connection.
    Renew(Feed),
}

#[derive(Debug)]
struct Watched {
    feed: Feed,
    idle_max: Option<Duration>,
    last: Instant,
    /// `Down` until its first sign of life on this connection.
    phase: FeedPhase,
    /// Renewals since its last sign of life.
    renewals: u32,
}

/// The feeds of one connection.
#[derive(Debug)]
pub(crate) struct Watchdog {
    feeds: Vec<Watched>,
    /// Index by instrument and channel.
    index: Vec<[Option<u32>; 3]>,
    connection_last: Instant,
}

impl Watchdog {
    /// Watches those feeds that `is_streamed`.
    pub(crate) fn new(plan: &Plan, rules: &Rules, is_streamed: impl Fn(Feed) -> bool, now: Instant) -> Self {
        let mut index = vec![[None; 3]; plan.instruments.len()];
        let mut feeds = Vec::new();
        for feed in plan.feeds().filter(|feed| is_streamed(*feed)) {
            index[feed.instrument as usize][feed.channel as usize] = Some(feeds.len() as u32);
            let idle_max = rules.idle_max(feed.channel);
            feeds.push(Watched { feed, idle_max, last: now, phase: FeedPhase::Down, renewals: 0 });
        }
        Self { feeds, index, connection_last: now }
    }

    /// A new connection: silence counts from now, patience stays as it was.
    pub(crate) fn connected(&mut self, now: Instant) {
        self.connection_last = now;
        for watched in &mut self.feeds {
            watched.last = now;
            watched.phase = FeedPhase::Down;
        }
    }

    /// A frame came, whatever it was.
    pub(crate) fn frame(&mut self, now: Instant) {
        self.connection_last = now;
    }

    /// A feed showed life: true when it was not live before.
    #[inline]
    pub(crate) fn saw(&mut self, feed: Feed, now: Instant) -> bool {
        let place = self.index.get(feed.instrument as usize).and_then(|row| row[feed.channel as usize]);
        let Some(watched) = place.and_then(|place| self.feeds.get_mut(place as usize)) else { return false };
        watched.last = now;
        watched.renewals = 0;
        if watched.phase == FeedPhase::Live {
            return false;
        }
        watched.phase = FeedPhase::Live;
        true
    }

    /// How long no frame at all came.
    pub(crate) fn connection_idle(&self, now: Instant) -> Duration {
        now.duration_since(self.connection_last)
    }

    /// Feeds that are silent past their time.
    pub(crate) fn barks(&mut self, now: Instant, barks: &mut Vec<Bark>) {
        for watched in &mut self.feeds {
            let Some(idle_max) = watched.idle_max else { continue };
            let patience = idle_max.saturating_mul(1 << watched.renewals.min(16)).min(PATIENCE_MAX.max(idle_max));
            if now.duration_since(watched.last) < patience {
                continue;
            }
            watched.last = now;
            if watched.phase == FeedPhase::Silent {
                watched.renewals += 1;
                barks.push(Bark::Renew(watched.feed));
            } else {
                watched.phase = FeedPhase::Silent;
                barks.push(Bark::Silent(watched.feed));
            }
        }
    }

    /// Every feed watched.
    pub(crate) fn feeds(&self) -> impl Iterator<Item = Feed> {
        self.feeds.iter().map(|watched| watched.feed)
    }
}

#[cfg(test)]
mod tests {
    use model::Channel;

    use super::*;
    use crate::connector::{Connector, QuotesFrom};
    use crate::decode::Listed;
    use crate::venues::binance::Binance;

    fn watchdog(start: Instant) -> (Watchdog, Rules) {
        let instrument = "BTC-USDT".parse().expect("an instrument");
        let plan = Plan {
            venue: "binance".parse().expect("a venue"),
            instruments: [Listed { instrument, symbol: "BTCUSDT".into() }].into(),
            channels: vec![Channel::Trades, Channel::Quotes],
            quotes_from: QuotesFrom::BestBidAsk,
        };
        let second = Duration::from_secs(1);
        let rules = Rules { trades_idle_max: None, quotes_idle_max: Some(10 * second), ..Binance.rules() };
        (Watchdog::new(&plan, &rules, |_| true, start), rules)
    }

    fn barks(watchdog: &mut Watchdog, at: Instant) -> Vec<Bark> {
        let mut barks = Vec::new();
        watchdog.barks(at, &mut barks);
        barks
    }

    #[test]
    fn silence_is_told_then_renewed_with_growing_patience() {
        let start = Instant::now();
        let (mut watchdog, _) = watchdog(start);
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let quotes = Feed::new(0, Channel::Quotes);
        assert!(watchdog.saw(quotes, at(0)));
        assert!(!watchdog.saw(quotes, at(1)), "it is live already");
        assert_eq!(barks(&mut watchdog, at(10)), []);
        assert_eq!(barks(&mut watchdog, at(11)), [Bark::Silent(quotes)]);
        assert_eq!(barks(&mut watchdog, at(20)), []);
        assert_eq!(barks(&mut watchdog, at(21)), [Bark::Renew(quotes)]);
        watchdog.connected(at(22));
        assert_eq!(barks(&mut watchdog, at(33)), [], "twice the patience");
        assert_eq!(barks(&mut watchdog, at(42)), [Bark::Silent(quotes)]);
        assert!(watchdog.saw(quotes, at(43)), "live again");
        assert_eq!(barks(&mut watchdog, at(53)), [Bark::Silent(quotes)], "and the patience is as at first");
    }

    #[test]
    fn any_frame_keeps_the_connection() {
        let start = Instant::now();
        let (mut watchdog, _) = watchdog(start);
        watchdog.frame(start + Duration::from_secs(30));
        assert_eq!(watchdog.connection_idle(start + Duration::from_secs(40)), Duration::from_secs(10));
        assert_eq!(
            barks(&mut watchdog, start + Duration::from_secs(40)),
            [Bark::Silent(Feed::new(0, Channel::Quotes))]
        );
    }
}
