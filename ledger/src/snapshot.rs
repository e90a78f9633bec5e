//! State as bytes and back: what snapshots of the ledger and of the exchange are made of. Little-endian, without
//! padding, each vector after its length as `u32`.

use std::collections::BTreeMap;

use model::exchange::{
    AccountId, ExchangeLimits, ExecutionKind, MarketRules, OrderKind, Phase, Reason, SelfTrade, TimeInForce, Trail,
};
use model::{Instrument, Name, Price, Quantity, Side, UnixNanos};

use crate::balance::{AssetId, AssetTotals, Balance, Ledger, Pending};
use crate::chunks::Chunks;
use crate::fee::FeeMeter;
use crate::position::{Position, Positions};
use crate::table::Paged;

/// Bytes that are no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// They end too early.
    #[error("snapshot ends inside {0}")]
    Truncated(&'static str),
    /// They hold what may not be.
    #[error("snapshot holds an invalid {0}")]
    Invalid(&'static str),
    /// They were made by another version of format or logic.
    #[error("snapshot has {what} version {found}, this program has {ours}")]
    Version {
        /// Format or logic.
        what: &'static str,
        /// The snapshot's.
        found: u32,
        /// This program's.
        ours: u32,
    },
    /// They are not those that were written.
    #[error("snapshot is damaged: its checksum does not match")]
    Checksum,
}

/// Reads state from bytes.
#[derive(Debug)]
pub struct Source<'a> {
    rest: &'a [u8],
}

impl<'a> Source<'a> {
    /// From the first byte on.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], SnapshotError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(SnapshotError::Truncated(what))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn bytes(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], SnapshotError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(SnapshotError::Truncated(what))?;
        self.rest = rest;
        Ok(taken)
    }

    /// Bytes left.
    pub const fn left(&self) -> usize {
        self.rest.len()
    }
}

/// A part of the state.
pub trait State: Sized {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads it.
    ///
    /// # Errors
    /// When the bytes are too few or no such part.
    fn get(from: &mut Source<'_>) -> Result<Self, SnapshotError>;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl State for $number {
            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            #[inline]
            fn get(from: &mut Source<'_>) -> Result<Self, SnapshotError> {
                from.array(stringify!($number)).map(Self::from_le_bytes)
            }
        }
    )*};
}

numbers!(u8, u16, u32, u64, i64, i128);

impl State for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn get(from: &mut Source<'_>) -> Result<Self, SnapshotError> {
        match u8::get(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(SnapshotError::Invalid("truth")),
        }
    }
}

impl<T: State> State for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn get(from: &mut Source<'_>) -> Result<Self, SnapshotError> {
        Ok(if bool::get(from)? { Some(T::get(from)?) } else { None })
    }
}

impl<T: State> State for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        u32::try_from(self.len()).expect("state has fewer than 2^32 of anything").put(out);
        for item in self {
            item.put(out);
        }
    }

    fn get(from: &mut Source<'_>) -> Result<Self, SnapshotError> {
        let len = u32::get(from)? as usize;
        // Every item takes a byte at least, so a false length cannot reserve more than the bytes allow.
        let mut items = Self::with_capacity(len.min(from.left()));
        for _ in 0..len {
            items.push(T::get(from)?);
        }
        Ok(items)
    }
}

impl<T: State + Copy, const CHUNK: usize> State for Chunks<T, CHUNK> {
    fn put(&self, out: &mut Vec<u8>) {
        u32::try_from(self.len()).expect("state has fewer than 2^32 of anything").put(out);
        for item in self.iter() {
            item.put(out);
        }
    }

    fn get(from: &mut Source<'_>) -> Result<Self, SnapshotError> {
        (0..u32::get(from)?).map(|_| T::get(from)).collect()
    }
}

impl<A: State, B: State> State for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn get(from: &mut Source<'_>) -> Result<Self, SnapshotError> {
        Ok((A::get(from)?, B::get(from)?))
    }
}

impl<K: State + Ord, V: State> State for BTreeMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        u32::try_from(self.len()).expect("state has fewer than 2^32 of anything").put(out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }

    fn get(from: &mut Source<'_>) -> Result<Self, SnapshotError> {
        let items: Vec<(K, V)> = Vec::get(from)?;
        Ok(items.into_iter().collect())
    }
}

impl<const N: usize> State for Name<N> {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.as_bytes().len() as u8);
        out.extend_from_slice(self.as_bytes());
    }

    fn get(from: &mut Source<'_>) -> Result<Self, SnapshotError> {
        let len = u8::get(from)? as usize;
        Self::new(from.bytes(len, "name")?).map_err(|_| SnapshotError::Invalid("name"))
    }
}

impl State for Instrument {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.as_str().len() as u8);
        out.extend_from_slice(self.as_str().as_bytes());
    }

    fn get(from: &mut Source<'_>) -> Result<Self, SnapshotError> {
        let len = u8::get(from)? as usize;
        Self::new(from.bytes(len, "instrument")?).map_err(|_| SnapshotError::Invalid("instrument"))
    }
}

macro_rules! wrapped {
    ($($name:ident: $raw:ty, $wrap:expr, $unwrap:expr;)*) => {$(
        impl State for $name {
            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                let unwrap: fn(&Self) -> $raw = $unwrap;
                unwrap(self).put(out);
            }

            #[inline]
            fn get(from: &mut Source<'_>) -> Result<Self, SnapshotError> {
                let wrap: fn($raw) -> Option<Self> = $wrap;
                wrap(<$raw>::get(from)?).ok_or(SnapshotError::Invalid(stringify!($name)))
            }
        }
    )*};
}

wrapped! {
    Price: i64, Price::from_raw, |price| price.raw();
    Quantity: i64, Quantity::from_raw, |quantity| quantity.raw();
    UnixNanos: i64, |raw| Some(UnixNanos(raw)), |time| time.0;
    AccountId: u32, |raw| (raw < AccountId::MAX).then_some(AccountId(raw)), |account| account.0;
    AssetId: u16, |raw| Some(AssetId(raw)), |asset| asset.0;
    FeeMeter: u16, FeeMeter::from_raw, |meter| meter.raw();
}

/// Implements [`State`] for a struct by its fields, in this order.
#[macro_export]
macro_rules! state_of {
    ($name:ty { $($field:ident),* $(,)? }) => {
        impl $crate::snapshot::State for $name {
            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                $($crate::snapshot::State::put(&self.$field, out);)*
            }

            #[inline]
            fn get(from: &mut $crate::snapshot::Source<'_>) -> Result<Self, $crate::snapshot::SnapshotError> {
                Ok(Self { $($field: $crate::snapshot::State::get(from)?),* })
            }
        }
    };
}

/// Implements [`State`] for an enum without fields, by its place in this list.
#[macro_export]
macro_rules! state_of_enum {
    ($name:ty { $($variant:ident),* $(,)? }) => {
        impl $crate::snapshot::State for $name {
            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                const ALL: &[$name] = &[$(<$name>::$variant),*];
                let at = ALL.iter().position(|known| known == self).expect("every variant is listed");
                out.push(at as u8);
            }

            #[inline]
            fn get(from: &mut $crate::snapshot::Source<'_>) -> Result<Self, $crate::snapshot::SnapshotError> {
                const ALL: &[$name] = &[$(<$name>::$variant),*];
                let at = <u8 as $crate::snapshot::State>::get(from)?;
                ALL.get(at as usize).copied().ok_or($crate::snapshot::SnapshotError::Invalid(stringify!($name)))
            }
        }
    };
}

state_of_enum!(Side { Buy, Sell });
state_of_enum!(OrderKind { Limit, Market, Stop, StopLimit, TrailingStop });
state_of_enum!(SelfTrade { Allow, CancelNewest, CancelOldest, CancelBoth, Decrement });
state_of_enum!(Phase { PreOpen, Auction, Open, Halted, Closed });
state_of_enum!(ExecutionKind { Accepted, Rejected, Trade, Cancelled, Amended, Triggered, Decremented, Busted, Done });
state_of!(ExchangeLimits { open_orders_max, ids_max, ids_ttl_ns, book_snapshot_every, indicative_every_ns });
state_of!(MarketRules {
    instrument,
    tick,
    lot,
    min_notional,
    max_notional,
    max_quantity,
    band_bps,
    protection_bps,
    maker_bps,
    taker_bps,
    self_trade,
    reference
});

impl State for Reason {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }

    fn get(from: &mut Source<'_>) -> Result<Self, SnapshotError> {
        Self::from_u8(u8::get(from)?).ok_or(SnapshotError::Invalid("reason"))
    }
}

impl State for TimeInForce {
    fn put(&self, out: &mut Vec<u8>) {
        let number = match self {
            Self::Gtc => 0,
            Self::Ioc => 1,
            Self::Fok => 2,
            Self::Day => 3,
            Self::Gtd(_) => 4,
        };
        out.push(number);
        if let Self::Gtd(until) = self {
            until.put(out);
        }
    }

    fn get(from: &mut Source<'_>) -> Result<Self, SnapshotError> {
        Ok(match u8::get(from)? {
            0 => Self::Gtc,
            1 => Self::Ioc,
            2 => Self::Fok,
            3 => Self::Day,
            4 => Self::Gtd(UnixNanos::get(from)?),
            _ => return Err(SnapshotError::Invalid("time in force")),
        })
    }
}

impl State for Trail {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Price(price) => {
                out.push(0);
                price.put(out);
            }
            Self::Bps(bps) => {
                out.push(1);
                bps.put(out);
            }
        }
    }

    fn get(from: &mut Source<'_>) -> Result<Self, SnapshotError> {
        Ok(match u8::get(from)? {
            0 => Self::Price(Price::get(from)?),
            1 => Self::Bps(u32::get(from)?),
            _ => return Err(SnapshotError::Invalid("trail")),
        })
    }
}

state_of!(Balance { available, held });
state_of!(AssetTotals { available, held, external });
state_of!(Pending { account, asset, amount });
state_of!(Position { quantity, cost, realised });
state_of!(Positions { table });

impl<T: State + Copy + Default> State for Paged<T> {
    fn put(&self, out: &mut Vec<u8>) {
        let (columns, cells) = self.parts();
        columns.put(out);
        cells.put(out);
    }

    fn get(from: &mut Source<'_>) -> Result<Self, SnapshotError> {
        Self::from_parts(State::get(from)?, State::get(from)?).ok_or(SnapshotError::Invalid("table"))
    }
}

impl State for Ledger {
    fn put(&self, out: &mut Vec<u8>) {
        self.names.put(out);
        self.totals.put(out);
        self.table.put(out);
        self.pending.put(out);
        self.transfers.put(out);
    }

    fn get(from: &mut Source<'_>) -> Result<Self, SnapshotError> {
        let (names, totals) = (State::get(from)?, State::get(from)?);
        let ledger =
            Self { names, totals, table: State::get(from)?, pending: State::get(from)?, transfers: u64::get(from)? };
        let known = |asset: AssetId| (asset.0 as usize) < ledger.names.len();
        let columns = ledger.table.parts().0.len();
        if ledger.names.len() != ledger.totals.len()
            || columns > ledger.names.len()
            || !ledger.pending.values().all(|pending| known(pending.asset))
        {
            return Err(SnapshotError::Invalid("ledger"));
        }
        Ok(ledger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_survives_its_bytes_and_no_prefix_is_taken_for_one() {
        let mut ledger = Ledger::default();
        let mut journal = vec![];
        for (at, name) in ["BTC", "USDT"].iter().enumerate() {
            let asset = ledger.add_asset(name.parse().expect("a name")).expect("room");
            ledger.deposit(AccountId(300 * at as u32 + 1), asset, 500, &mut journal);
            ledger.withdraw_later(AccountId(300 * at as u32 + 1), asset, 70, &mut journal).expect("enough");
        }
        let mut bytes = vec![];
        ledger.put(&mut bytes);
        assert_eq!(Ledger::get(&mut Source::new(&bytes)).expect("what was written"), ledger);
        for end in (0..bytes.len()).step_by(7) {
            assert!(Ledger::get(&mut Source::new(&bytes[..end])).is_err(), "{end} of {} bytes", bytes.len());
        }
    }
}
