//! Trades as the exchange writes them.

use model::exchange::{MarketTrade, write_market_trade};
use model::{Cause, Price, Quantity, Side, UnixNanos, topic};

/// The trade with this number, from 0: its offset.
pub(crate) fn trade(number: u64) -> Vec<u8> {
    let trade = MarketTrade {
        instrument: "BTC-USDT".parse().expect("an instrument"),
        trade_id: number + 1,
        price: Price::from_raw(7_884_513_000_000 + (number % 1_000) as i64 * 1_000_000).expect("a price"),
        quantity: Quantity::from_raw(1_000_000).expect("a quantity"),
        taker_side: if number.is_multiple_of(2) { Side::Buy } else { Side::Sell },
        maker_order: number * 2,
        taker_order: number * 2 + 1,
        auction: false,
        busted: false,
    };
    let cause = Cause { topic: topic::name(topic::ORDERS), partition: 0, offset: number, index: 0 };
    let mut bytes = Vec::new();
    let time = UnixNanos(1_795_651_200_000_000_000 + number as i64 * 50_000);
    write_market_trade(&trade, &cause, time, &mut bytes);
    bytes
}
