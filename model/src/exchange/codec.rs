//! The binary form of commands, little-endian.
//!
//! ```text
//! version u8 | kind u8 | origin u8 (0 root, 1 derived) | flags u8 (1: has a request)
//! ts i64 | sent_at i64 | account u32
//! root:    epoch u64 | sequence u64 | role str8
//! derived: offset u64 | partition u32 | index u32 | topic str8
//! request str8, where the flag is set
//! body, by kind
//! ```
//! `str8` is a length byte and that many bytes. Within a version fields are only ever added at the end of a
//! body, and readers ignore what follows the fields they know; anything else is a new version. Fixtures of
//! every released version are read under test.

use super::command::{Command, CommandBody, ExchangeLimits, KillScope, NewOrder, OrderRef};
use super::market::{MarketRules, Phase};
use super::order::{AccountId, OrderKind, SelfTrade, TimeInForce, Trail};
use crate::codec::{CodecError, Reader, invalid, put_text};
use crate::instrument::Instrument;
use crate::number::{Price, Quantity};
use crate::record::{Cause, Origin};
use crate::tick::Side;
use crate::time::UnixNanos;

/// The version written.
const VERSION: u8 = 1;
const HAS_REQUEST: u8 = 1;

mod kind {
    pub(super) const PLACE: u8 = 1;
    pub(super) const PLACE_OCO: u8 = 2;
    pub(super) const AMEND: u8 = 3;
    pub(super) const CANCEL: u8 = 4;
    pub(super) const CANCEL_ALL: u8 = 5;
    pub(super) const CANCEL_ALL_AFTER: u8 = 6;
    pub(super) const DEPOSIT: u8 = 7;
    pub(super) const WITHDRAW: u8 = 8;
    pub(super) const SETTLE: u8 = 9;
    pub(super) const TRANSFER: u8 = 10;
    pub(super) const LIST_MARKET: u8 = 11;
    pub(super) const SET_PHASE: u8 = 12;
    pub(super) const KILL: u8 = 13;
    pub(super) const BUST: u8 = 14;
    pub(super) const SET_ACCOUNT: u8 = 15;
    pub(super) const CONFIGURE: u8 = 16;
    pub(super) const CLOCK: u8 = 17;
    pub(super) const CLAIM: u8 = 18;
}

impl Command {
    /// Appends the binary form to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let origin = u8::from(matches!(self.origin, Origin::Derived(_)));
        let flags = if self.request.is_some() { HAS_REQUEST } else { 0 };
        out.extend_from_slice(&[VERSION, self.body.number(), origin, flags]);
        out.extend_from_slice(&self.ts.0.to_le_bytes());
        out.extend_from_slice(&self.sent_at.0.to_le_bytes());
        out.extend_from_slice(&self.account.0.to_le_bytes());
        match &self.origin {
            Origin::Root { role, epoch, sequence } => {
                out.extend_from_slice(&epoch.to_le_bytes());
                out.extend_from_slice(&sequence.to_le_bytes());
                put_text(out, role.as_bytes());
            }
            Origin::Derived(cause) => {
                out.extend_from_slice(&cause.offset.to_le_bytes());
                out.extend_from_slice(&cause.partition.to_le_bytes());
                out.extend_from_slice(&cause.index.to_le_bytes());
                put_text(out, cause.topic.as_bytes());
            }
        }
        if let Some(request) = &self.request {
            put_text(out, request.as_bytes());
        }
        self.body.encode(out);
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// When the bytes are cut, of a newer version or unknown kind, or hold what a field may not.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8("version")?;
        if version > VERSION {
            return Err(CodecError::NewerVersion(version));
        }
        if version == 0 {
            return Err(CodecError::Invalid { field: "version", value: "0".into() });
        }
        let kind = reader.u8("kind")?;
        let origin_kind = reader.u8("origin")?;
        let flags = reader.u8("flags")?;
        let ts = UnixNanos(reader.i64("ts")?);
        let sent_at = UnixNanos(reader.i64("sent_at")?);
        let account = AccountId(reader.u32("account")?);
        let origin = match origin_kind {
            0 => Origin::Root {
                epoch: reader.u64("epoch")?,
                sequence: reader.u64("sequence")?,
                role: reader.name("role")?,
            },
            1 => Origin::Derived(Cause {
                offset: reader.u64("offset")?,
                partition: reader.u32("partition")?,
                index: reader.u32("index")?,
                topic: reader.name("topic")?,
            }),
            other => return Err(invalid("origin", &other)),
        };
        let request = if flags & HAS_REQUEST != 0 { Some(reader.name("request")?) } else { None };
        let body = CommandBody::decode(kind, &mut reader)?;
        Ok(Self { origin, ts, account, request, sent_at, body })
    }
}

impl CommandBody {
    /// The number of its kind in records.
    pub fn number(&self) -> u8 {
        match self {
            Self::Place(_) => kind::PLACE,
            Self::PlaceOco(..) => kind::PLACE_OCO,
            Self::Amend { .. } => kind::AMEND,
            Self::Cancel { .. } => kind::CANCEL,
            Self::CancelAll { .. } => kind::CANCEL_ALL,
            Self::CancelAllAfter { .. } => kind::CANCEL_ALL_AFTER,
            Self::Deposit { .. } => kind::DEPOSIT,
            Self::Withdraw { .. } => kind::WITHDRAW,
            Self::Settle { .. } => kind::SETTLE,
            Self::Transfer { .. } => kind::TRANSFER,
            Self::ListMarket(_) => kind::LIST_MARKET,
            Self::SetPhase { .. } => kind::SET_PHASE,
            Self::Kill { .. } => kind::KILL,
            Self::Bust { .. } => kind::BUST,
            Self::SetAccount { .. } => kind::SET_ACCOUNT,
            Self::Configure(_) => kind::CONFIGURE,
            Self::Clock => kind::CLOCK,
            Self::Claim => kind::CLAIM,
        }
    }

    /// Appends the body's binary form to `out`; also what the payload's fingerprint is taken from.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Place(order) => put_order(out, order),
            Self::PlaceOco(pair) => {
                put_order(out, &pair.0);
                put_order(out, &pair.1);
            }
            Self::Amend { order, price, quantity, trigger } => {
                put_ref(out, order);
                put_option(out, price.map(Price::raw));
                put_option(out, quantity.map(Quantity::raw));
                put_option(out, trigger.map(Price::raw));
            }
            Self::Cancel { order } => put_ref(out, order),
            Self::CancelAll { instrument } => {
                out.push(u8::from(instrument.is_some()));
                if let Some(instrument) = instrument {
                    put_instrument(out, instrument);
                }
            }
            Self::CancelAllAfter { deadline } => put_option(out, deadline.map(|time| time.0)),
            Self::Deposit { asset, amount } => {
                put_i64(out, amount.raw());
                put_text(out, asset.as_bytes());
            }
            Self::Withdraw { asset, amount, pending } => {
                put_i64(out, amount.raw());
                out.push(u8::from(*pending));
                put_text(out, asset.as_bytes());
            }
            Self::Settle { transfer, post } => {
                out.extend_from_slice(&transfer.to_le_bytes());
                out.push(u8::from(*post));
            }
            Self::Transfer { to, asset, amount } => {
                out.extend_from_slice(&to.0.to_le_bytes());
                put_i64(out, amount.raw());
                put_text(out, asset.as_bytes());
            }
            Self::ListMarket(rules) => put_rules(out, rules),
            Self::SetPhase { instrument, phase } => {
                out.push(*phase as u8);
                put_instrument(out, instrument);
            }
            Self::Kill { scope, on } => {
                out.push(u8::from(*on));
                put_scope(out, scope);
            }
            Self::Bust { instrument, trade } => {
                out.extend_from_slice(&trade.to_le_bytes());
                put_instrument(out, instrument);
            }
            Self::SetAccount { account, open_orders_max } => {
                out.extend_from_slice(&account.0.to_le_bytes());
                put_option(out, open_orders_max.map(i64::from));
            }
            Self::Configure(limits) => {
                out.extend_from_slice(&limits.open_orders_max.to_le_bytes());
                out.extend_from_slice(&limits.ids_max.to_le_bytes());
                put_i64(out, limits.ids_ttl_ns);
                out.extend_from_slice(&limits.book_snapshot_every.to_le_bytes());
                put_i64(out, limits.indicative_every_ns);
            }
            Self::Clock | Self::Claim => {}
        }
    }

    fn decode(kind: u8, reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(match kind {
            kind::PLACE => Self::Place(order(reader)?),
            kind::PLACE_OCO => Self::PlaceOco(Box::new((order(reader)?, order(reader)?))),
            kind::AMEND => Self::Amend {
                order: order_ref(reader)?,
                price: option(reader, "price", Price::from_raw)?,
                quantity: option(reader, "quantity", Quantity::from_raw)?,
                trigger: option(reader, "trigger", Price::from_raw)?,
            },
            kind::CANCEL => Self::Cancel { order: order_ref(reader)? },
            kind::CANCEL_ALL => {
                let one = flag(reader, "instrument")?;
                Self::CancelAll { instrument: if one { Some(reader.instrument()?) } else { None } }
            }
            kind::CANCEL_ALL_AFTER => {
                Self::CancelAllAfter { deadline: option(reader, "deadline", |raw| Some(UnixNanos(raw)))? }
            }
            kind::DEPOSIT => {
                let amount = reader.quantity("amount")?;
                Self::Deposit { asset: reader.name("asset")?, amount }
            }
            kind::WITHDRAW => {
                let amount = reader.quantity("amount")?;
                let pending = flag(reader, "pending")?;
                Self::Withdraw { asset: reader.name("asset")?, amount, pending }
            }
            kind::SETTLE => Self::Settle { transfer: reader.u64("transfer")?, post: flag(reader, "post")? },
            kind::TRANSFER => {
                let to = AccountId(reader.u32("to")?);
                let amount = reader.quantity("amount")?;
                Self::Transfer { to, asset: reader.name("asset")?, amount }
            }
            kind::LIST_MARKET => Self::ListMarket(Box::new(rules(reader)?)),
            kind::SET_PHASE => {
                let phase = one_of(reader, "phase", &PHASES)?;
                Self::SetPhase { instrument: reader.instrument()?, phase }
            }
            kind::KILL => {
                let on = flag(reader, "on")?;
                let scope = if flag(reader, "scope")? {
                    KillScope::Market(reader.instrument()?)
                } else {
                    KillScope::Account(AccountId(reader.u32("account")?))
                };
                Self::Kill { scope, on }
            }
            kind::BUST => {
                let trade = reader.u64("trade")?;
                Self::Bust { instrument: reader.instrument()?, trade }
            }
            kind::SET_ACCOUNT => Self::SetAccount {
                account: AccountId(reader.u32("account")?),
                open_orders_max: option(reader, "open_orders_max", |raw| u32::try_from(raw).ok())?,
            },
            kind::CONFIGURE => Self::Configure(ExchangeLimits {
                open_orders_max: reader.u32("open_orders_max")?,
                ids_max: reader.u32("ids_max")?,
                ids_ttl_ns: reader.i64("ids_ttl_ns")?,
                book_snapshot_every: reader.u32("book_snapshot_every")?,
                indicative_every_ns: reader.i64("indicative_every_ns")?,
            }),
            kind::CLOCK => Self::Clock,
            kind::CLAIM => Self::Claim,
            other => return Err(CodecError::UnknownKind(other)),
        })
    }
}

const PHASES: [Phase; 5] = [Phase::PreOpen, Phase::Auction, Phase::Open, Phase::Halted, Phase::Closed];
const SIDES: [Side; 2] = [Side::Buy, Side::Sell];
const KINDS: [OrderKind; 5] =
    [OrderKind::Limit, OrderKind::Market, OrderKind::Stop, OrderKind::StopLimit, OrderKind::TrailingStop];
const SELF_TRADES: [SelfTrade; 5] =
    [SelfTrade::Allow, SelfTrade::CancelNewest, SelfTrade::CancelOldest, SelfTrade::CancelBoth, SelfTrade::Decrement];

fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_option(out: &mut Vec<u8>, value: Option<i64>) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put_i64(out, value);
    }
}

fn put_instrument(out: &mut Vec<u8>, instrument: &Instrument) {
    put_text(out, instrument.as_str().as_bytes());
}

fn put_scope(out: &mut Vec<u8>, scope: &KillScope) {
    match scope {
        KillScope::Account(account) => {
            out.push(0);
            out.extend_from_slice(&account.0.to_le_bytes());
        }
        KillScope::Market(instrument) => {
            out.push(1);
            put_instrument(out, instrument);
        }
    }
}

fn put_ref(out: &mut Vec<u8>, order: &OrderRef) {
    match order {
        OrderRef::Id(id) => {
            out.push(0);
            out.extend_from_slice(&id.to_le_bytes());
        }
        OrderRef::Client(id) => {
            out.push(1);
            put_text(out, id.as_bytes());
        }
    }
}

/// Order fields that are mostly absent, as bits of one byte.
mod has {
    pub(super) const PRICE: u8 = 1;
    pub(super) const TRIGGER: u8 = 2;
    pub(super) const DISPLAY: u8 = 4;
    pub(super) const TRAIL_PRICE: u8 = 8;
    pub(super) const TRAIL_BPS: u8 = 16;
    pub(super) const POST_ONLY: u8 = 32;
    pub(super) const QUOTE_AMOUNT: u8 = 64;
}

fn put_order(out: &mut Vec<u8>, order: &NewOrder) {
    let mut bits = 0;
    for (set, bit) in [
        (order.price.is_some(), has::PRICE),
        (order.trigger.is_some(), has::TRIGGER),
        (order.display.is_some(), has::DISPLAY),
        (matches!(order.trail, Some(Trail::Price(_))), has::TRAIL_PRICE),
        (matches!(order.trail, Some(Trail::Bps(_))), has::TRAIL_BPS),
        (order.post_only, has::POST_ONLY),
        (order.quote_amount != Quantity::ZERO, has::QUOTE_AMOUNT),
    ] {
        if set {
            bits |= bit;
        }
    }
    let (tif, until) = match order.tif {
        TimeInForce::Gtc => (0, None),
        TimeInForce::Ioc => (1, None),
        TimeInForce::Fok => (2, None),
        TimeInForce::Day => (3, None),
        TimeInForce::Gtd(until) => (4, Some(until.0)),
    };
    let self_trade = order.self_trade.map_or(255, |mode| mode as u8);
    out.extend_from_slice(&[order.side as u8, order.kind as u8, tif, bits, self_trade]);
    put_i64(out, order.quantity.raw());
    let trail = match order.trail {
        Some(Trail::Price(price)) => Some(price.raw()),
        Some(Trail::Bps(bps)) => Some(i64::from(bps)),
        None => None,
    };
    let quote_amount = (order.quote_amount != Quantity::ZERO).then_some(order.quote_amount.raw());
    let (price, trigger) = (order.price.map(Price::raw), order.trigger.map(Price::raw));
    for value in [until, price, trigger, order.display.map(Quantity::raw), trail, quote_amount].into_iter().flatten() {
        put_i64(out, value);
    }
    put_instrument(out, &order.instrument);
}

fn order(reader: &mut Reader<'_>) -> Result<NewOrder, CodecError> {
    let side = one_of(reader, "side", &SIDES)?;
    let kind = one_of(reader, "type", &KINDS)?;
    let tif = reader.u8("tif")?;
    let bits = reader.u8("order fields")?;
    let self_trade = match reader.u8("self_trade")? {
        255 => None,
        other => Some(*SELF_TRADES.get(other as usize).ok_or_else(|| invalid("self_trade", &other))?),
    };
    let quantity = reader.quantity("quantity")?;
    let tif = match tif {
        0 => TimeInForce::Gtc,
        1 => TimeInForce::Ioc,
        2 => TimeInForce::Fok,
        3 => TimeInForce::Day,
        4 => TimeInForce::Gtd(UnixNanos(reader.i64("tif")?)),
        other => return Err(invalid("tif", &other)),
    };
    let price = if bits & has::PRICE != 0 { Some(reader.price("price")?) } else { None };
    let trigger = if bits & has::TRIGGER != 0 { Some(reader.price("trigger")?) } else { None };
    let display = if bits & has::DISPLAY != 0 { Some(reader.quantity("display")?) } else { None };
    let trail = if bits & has::TRAIL_PRICE != 0 {
        Some(Trail::Price(reader.price("trail")?))
    } else if bits & has::TRAIL_BPS != 0 {
        let raw = reader.i64("trail")?;
        Some(Trail::Bps(u32::try_from(raw).map_err(|_| invalid("trail", &raw))?))
    } else {
        None
    };
    let quote_amount = if bits & has::QUOTE_AMOUNT != 0 { reader.quantity("quote_amount")? } else { Quantity::ZERO };
    Ok(NewOrder {
        instrument: reader.instrument()?,
        side,
        kind,
        tif,
        quantity,
        quote_amount,
        price,
        trigger,
        trail,
        display,
        post_only: bits & has::POST_ONLY != 0,
        self_trade,
    })
}

fn put_rules(out: &mut Vec<u8>, rules: &MarketRules) {
    for raw in [
        rules.tick.raw(),
        rules.lot.raw(),
        rules.min_notional.raw(),
        rules.max_notional.raw(),
        rules.max_quantity.raw(),
        rules.reference.raw(),
    ] {
        put_i64(out, raw);
    }
    out.extend_from_slice(&rules.band_bps.to_le_bytes());
    out.extend_from_slice(&rules.protection_bps.to_le_bytes());
    out.extend_from_slice(&rules.maker_bps.to_le_bytes());
    out.extend_from_slice(&rules.taker_bps.to_le_bytes());
    out.push(rules.self_trade as u8);
    put_instrument(out, &rules.instrument);
}

fn rules(reader: &mut Reader<'_>) -> Result<MarketRules, CodecError> {
    let tick = reader.price("tick")?;
    let lot = reader.quantity("lot")?;
    let min_notional = reader.quantity("min_notional")?;
    let max_notional = reader.quantity("max_notional")?;
    let max_quantity = reader.quantity("max_quantity")?;
    let reference = reader.price("reference")?;
    let band_bps = reader.u32("band_bps")?;
    let protection_bps = reader.u32("protection_bps")?;
    let maker_bps = u16::from_le_bytes(reader.array("maker_bps")?);
    let taker_bps = u16::from_le_bytes(reader.array("taker_bps")?);
    let self_trade = one_of(reader, "self_trade", &SELF_TRADES)?;
    Ok(MarketRules {
        instrument: reader.instrument()?,
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
        reference,
    })
}

fn one_of<T: Copy>(reader: &mut Reader<'_>, field: &'static str, values: &[T]) -> Result<T, CodecError> {
    let number = reader.u8(field)?;
    values.get(number as usize).copied().ok_or_else(|| invalid(field, &number))
}

fn flag(reader: &mut Reader<'_>, field: &'static str) -> Result<bool, CodecError> {
    match reader.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(invalid(field, &other)),
    }
}

fn option<T>(
    reader: &mut Reader<'_>,
    field: &'static str,
    make: impl FnOnce(i64) -> Option<T>,
) -> Result<Option<T>, CodecError> {
    if !flag(reader, field)? {
        return Ok(None);
    }
    let raw = reader.i64(field)?;
    make(raw).map(Some).ok_or_else(|| invalid(field, &raw))
}

fn order_ref(reader: &mut Reader<'_>) -> Result<OrderRef, CodecError> {
    if flag(reader, "order")? {
        Ok(OrderRef::Client(reader.name("order")?))
    } else {
        Ok(OrderRef::Id(reader.u64("order")?))
    }
}
