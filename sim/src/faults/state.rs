//! The faults in force on one venue.

use super::{Fault, Malformed, ScheduledFault};
use crate::market::random::Random;

#[derive(Debug)]
struct Active {
    fault: Fault,
    channels: Option<ChannelSet>,
    symbol: Option<usize>,
    until: u64,
    /// When a repeated cut is due next.
    next_cut: u64,
}

/// Channels by their bits.
pub(crate) type ChannelSet = u32;

/// What becomes of one data frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Verdict {
    /// Left out: silence.
    pub(crate) silent: bool,
    /// Left out: loss.
    pub(crate) dropped: bool,
    /// Sent twice.
    pub(crate) doubled: bool,
    /// A spoilt copy goes first, or instead.
    pub(crate) spoilt: Option<(Malformed, bool)>,
    /// Shuffled with its neighbours, this many together; 0 is not.
    pub(crate) reorder_within: u32,
}

/// What faults ask for at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Cut all connections, with a close frame or without.
    Cut {
        /// With a close frame.
        clean: bool,
    },
    /// Announce the end.
    Shutdown,
    /// Send a frame of this size.
    Oversize(u64),
}

/// All faults of a venue, scheduled and in force.
#[derive(Debug)]
pub(crate) struct FaultState {
    scheduled: Vec<ScheduledFault>,
    active: Vec<Active>,
    random: Random,
    shutdown_cut_at: u64,
}

const MILLI: u64 = 1_000_000;
/// From a shutdown notice to the cut.
const SHUTDOWN_NANOS: u64 = 10_000 * MILLI;

impl FaultState {
    /// Faults from a configuration, in the order of their times.
    pub(crate) fn new(seed: u64, venue: &str, mut scheduled: Vec<ScheduledFault>) -> Self {
        scheduled.sort_by_key(|fault| std::cmp::Reverse(fault.at));
        let random = Random::new(seed, &["faults", venue]);
        Self { scheduled, active: Vec::new(), random, shutdown_cut_at: u64::MAX }
    }

    /// When the next scheduled fault begins, in nanoseconds since the start.
    pub(crate) fn next_scheduled(&self) -> u64 {
        self.scheduled.last().map_or(u64::MAX, |fault| nanos(fault.at))
    }

    /// A scheduled fault that has come due.
    pub(crate) fn pop_scheduled(&mut self, now: u64) -> Option<ScheduledFault> {
        if self.next_scheduled() <= now { self.scheduled.pop() } else { None }
    }

    /// Puts a fault in force; those of one moment come back at once.
    pub(crate) fn begin(
        &mut self,
        now: u64,
        fault: Fault,
        lasts: Option<std::time::Duration>,
        (channels, symbol): (Option<ChannelSet>, Option<usize>),
    ) -> Option<Due> {
        let due = match fault {
            Fault::Disconnect { every_ms: None, clean } => return Some(Due::Cut { clean }),
            Fault::Oversize { bytes } => return Some(Due::Oversize(bytes)),
            Fault::Shutdown => {
                self.shutdown_cut_at = now + SHUTDOWN_NANOS;
                return Some(Due::Shutdown);
            }
            Fault::Disconnect { every_ms: Some(_), clean } => Some(Due::Cut { clean }),
            _ => None,
        };
        let next_cut = match fault {
            Fault::Disconnect { every_ms: Some(every), .. } => now + every * MILLI,
            _ => u64::MAX,
        };
        let until = lasts.map_or(u64::MAX, |lasts| now.saturating_add(nanos(lasts)));
        self.active.push(Active { fault, channels, symbol, until, next_cut });
        due
    }

    /// Ends all faults in force; scheduled ones stay.
    pub(crate) fn clear(&mut self) {
        self.active.clear();
        self.shutdown_cut_at = u64::MAX;
    }

    /// The faults in force.
    pub(crate) fn active(&self) -> impl Iterator<Item = &Fault> {
        self.active.iter().map(|active| &active.fault)
    }

    /// Ends faults whose time is over and says what has come due.
    pub(crate) fn tick(&mut self, now: u64) -> Option<Due> {
        self.active.retain(|active| active.until > now);
        if self.shutdown_cut_at <= now {
            self.shutdown_cut_at = u64::MAX;
            return Some(Due::Cut { clean: true });
        }
        for active in &mut self.active {
            if let Fault::Disconnect { every_ms: Some(every), clean } = active.fault
                && active.next_cut <= now
            {
                active.next_cut = now + every * MILLI;
                return Some(Due::Cut { clean });
            }
        }
        None
    }

    /// What becomes of a data frame of this channel and symbol.
    pub(crate) fn judge(&mut self, channel: usize, symbol: usize) -> Verdict {
        let mut verdict = Verdict::default();
        if self.active.is_empty() {
            return verdict;
        }
        for active in &self.active {
            let concerns = active.channels.is_none_or(|only| only >> channel & 1 == 1)
                && active.symbol.is_none_or(|only| only == symbol);
            if !concerns {
                continue;
            }
            match active.fault {
                Fault::Silence { .. } => verdict.silent = true,
                Fault::Drop { percent, .. } => verdict.dropped |= self.random.chance_ppm(percent * 10_000),
                Fault::Duplicate { percent } => verdict.doubled |= self.random.chance_ppm(percent * 10_000),
                Fault::Reorder { within } => verdict.reorder_within = verdict.reorder_within.max(within),
                Fault::Malformed { percent, form, replace } if self.random.chance_ppm(percent * 10_000) => {
                    let form = form.unwrap_or_else(|| {
                        let drawn = self.random.below(Malformed::ALL.len() as u64) as usize;
                        Malformed::ALL[drawn]
                    });
                    verdict.spoilt = Some((form, replace));
                }
                _ => {}
            }
        }
        verdict
    }

    /// Whether nothing at all is sent.
    pub(crate) fn all_silent(&self) -> bool {
        self.active.iter().any(|active| {
            matches!(active.fault, Fault::Silence { .. }) && active.channels.is_none() && active.symbol.is_none()
        })
    }

    /// How far the venue's clock is off, in nanoseconds.
    pub(crate) fn skew_nanos(&self) -> i64 {
        let skew = |fault: &Fault| if let Fault::ClockSkew { ms } = fault { Some(*ms) } else { None };
        self.active().filter_map(skew).map(|ms| ms.saturating_mul(MILLI as i64)).last().unwrap_or(0)
    }

    /// How far the venue's prices are off, in basis points.
    pub(crate) fn outlier_bps(&self) -> i32 {
        let bps = |fault: &Fault| if let Fault::Outlier { bps } = fault { Some(*bps) } else { None };
        self.active().filter_map(bps).last().unwrap_or(0)
    }

    /// Whether the next checksum is to be wrong.
    pub(crate) fn spoils_checksum(&mut self) -> bool {
        let percent = |fault: &Fault| if let Fault::WrongChecksum { percent } = fault { Some(*percent) } else { None };
        let Some(percent) = self.active.iter().filter_map(|active| percent(&active.fault)).next_back() else {
            return false;
        };
        self.random.chance_ppm(percent * 10_000)
    }

    /// The status with which the next REST call fails, if it does.
    pub(crate) fn rest_error(&mut self) -> Option<u16> {
        for active in &self.active {
            if let Fault::RestError { status, percent } = active.fault
                && self.random.chance_ppm(percent * 10_000)
            {
                return Some(status);
            }
        }
        None
    }

    /// How late REST calls are answered, in milliseconds.
    pub(crate) fn rest_delay_ms(&self) -> u64 {
        let ms = |fault: &Fault| if let Fault::RestDelay { ms } = fault { Some(*ms) } else { None };
        self.active().filter_map(ms).max().unwrap_or(0)
    }

    /// Whether new connections are refused.
    pub(crate) fn refuses(&self) -> bool {
        self.active().any(|fault| matches!(fault, Fault::Refuse))
    }

    /// Whether what clients send is left unread.
    pub(crate) fn reads_nothing(&self) -> bool {
        self.active().any(|fault| matches!(fault, Fault::SlowReader))
    }

    /// Bytes per second that a connection may be sent; 0 is no limit.
    pub(crate) fn bytes_per_second(&self) -> u64 {
        let rate = |fault: &Fault| match fault {
            Fault::SlowSender { bytes_per_second } => Some(*bytes_per_second),
            _ => None,
        };
        self.active().filter_map(rate).min().unwrap_or(0)
    }

    /// A number below `bound` for shuffling.
    pub(crate) fn draw(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn faults_begin_end_and_narrow() {
        let scheduled =
            |at, fault| ScheduledFault { at: Duration::from_secs(at), lasts: Some(Duration::from_secs(5)), fault };
        let list =
            vec![scheduled(9, Fault::Refuse), scheduled(1, Fault::Drop { percent: 100, channel: None, symbol: None })];
        let mut state = FaultState::new(1, "binance", list);
        assert_eq!(state.judge(0, 0), Verdict::default());
        let second = 1_000_000_000;
        let due = state.pop_scheduled(second).expect("due");
        assert!(state.pop_scheduled(8 * second).is_none());
        assert_eq!(state.begin(second, due.fault, due.lasts, (Some(0b100), None)), None);
        assert!(state.judge(2, 7).dropped && !state.judge(1, 7).dropped);
        assert_eq!(state.tick(5 * second), None);
        assert!(state.judge(2, 7).dropped);
        state.tick(6 * second);
        assert!(!state.judge(2, 7).dropped);
    }

    #[test]
    fn cuts_repeat() {
        let mut state = FaultState::new(1, "binance", Vec::new());
        let cut = Some(Due::Cut { clean: false });
        let fault = Fault::Disconnect { every_ms: Some(1_000), clean: false };
        assert_eq!(state.begin(0, fault, None, (None, None)), cut);
        let cuts = (1..=100u64).filter(|tenth| state.tick(tenth * 100 * MILLI) == cut).count();
        assert_eq!(cuts, 10);
    }
}
