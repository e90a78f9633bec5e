//! Records as callers see them. Decimals are text, except a price's own number, which stands in its exact
//! digits; times are RFC 3339 in UTC.

mod candle;
mod price;
mod tick;

pub(crate) use candle::{CandleRow, CandleView};
pub(crate) use price::{PriceView, Staleness, exact_number};
pub(crate) use tick::TickView;
