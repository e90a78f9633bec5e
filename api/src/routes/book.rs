//! `/book/{symbol}` and `/markets`: what everybody may see of the exchange.

use axum::Json;
use axum::extract::State;
use matcher::exchange::MarketView;
use model::exchange::{MarketRules, Phase};
use model::{Instrument, Price, Volume};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::exchange::market_named;
use crate::problem::{ErrorBody, Parameters, Problem, Segment};
use crate::state::Shared;

/// Levels of each side unless asked otherwise.
const DEPTH_DEFAULT: usize = 20;

/// The best levels of a book.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Book {
    #[schema(value_type = String, example = "BTC-USDT")]
    instrument: Instrument,
    /// Changes of the book so far: the delta with the next sequence follows this state.
    sequence: u64,
    /// The whole book's checksum as in the topic `book`, in 16 hex digits.
    checksum: String,
    /// Price and quantity, from the best.
    #[schema(value_type = Vec<Vec<String>>)]
    bids: Vec<(Price, Volume)>,
    /// Price and quantity, from the best.
    #[schema(value_type = Vec<Vec<String>>)]
    asks: Vec<(Price, Volume)>,
}

/// A market.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Market {
    #[schema(value_type = String, example = "BTC-USDT")]
    instrument: Instrument,
    /// `pre_open`, `auction`, `open`, `halted` or `closed`.
    #[schema(value_type = String)]
    phase: Phase,
    /// Whether its kill switch is thrown.
    killed: bool,
    /// The last trade's price.
    #[schema(value_type = Option<String>)]
    last: Option<Price>,
    /// Best price and quantity that shows there.
    #[schema(value_type = Option<Vec<String>>)]
    bid: Option<(Price, Volume)>,
    /// Best price and quantity that shows there.
    #[schema(value_type = Option<Vec<String>>)]
    ask: Option<(Price, Volume)>,
    /// Trades so far.
    trades: u64,
    /// Tick, lot, limits, fees.
    #[schema(value_type = Object)]
    rules: MarketRules,
}

/// The listed markets.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Markets {
    /// In the order of their listing.
    markets: Vec<Market>,
}

/// How much of a book.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BookQuery {
    depth: Option<usize>,
}

/// The best levels of a market's book.
#[utoipa::path(get, path = "/book/{symbol}", tag = "exchange",
    params(
        ("symbol" = String, Path, description = "`BTC-USDT`, `BTCUSDT` or `BTC`", example = "BTCUSDT"),
        ("depth" = Option<usize>, Query, description = "Levels of each side, 1 to 1000; 20 unless given"),
    ),
    responses(
        (status = 200, description = "The book", body = Book),
        (status = 400, description = "That depth is not possible", body = ErrorBody),
        (status = 404, description = "No such market is listed", body = ErrorBody),
        (status = 503, description = "There is no exchange, or it is starting", body = ErrorBody),
    ))]
pub(super) async fn get_book(
    State(state): State<Shared>,
    Segment(symbol): Segment,
    Parameters(query): Parameters<BookQuery>,
) -> Result<Json<Book>, Problem> {
    let (depth, max) = (query.depth.unwrap_or(DEPTH_DEFAULT), state.config.limits.book_levels_max);
    if depth == 0 || depth > max {
        return Err(Problem::bad_request("bad_depth", format!("depth {depth} not allowed: 1 to {max}")));
    }
    let (instrument, levels) = state.desk()?.view(|exchange| {
        let instrument = market_named(exchange, &symbol)?;
        let levels = exchange.book(&instrument, depth).expect("a listed market has a book");
        Ok::<_, Problem>((instrument, levels))
    })??;
    let checksum = format!("{:016x}", levels.checksum);
    Ok(Json(Book { instrument, sequence: levels.sequence, checksum, bids: levels.bids, asks: levels.asks }))
}

/// The listed markets with their rules and best prices.
#[utoipa::path(get, path = "/markets", tag = "exchange", responses(
    (status = 200, description = "The markets", body = Markets),
    (status = 503, description = "There is no exchange, or it is starting", body = ErrorBody),
))]
pub(super) async fn list_markets(State(state): State<Shared>) -> Result<Json<Markets>, Problem> {
    let views: Vec<MarketView> = state.desk()?.view(|exchange| exchange.markets().collect())?;
    let markets = views.into_iter().map(|view| Market {
        instrument: view.rules.instrument,
        phase: view.phase,
        killed: view.killed,
        last: view.last,
        bid: view.bid,
        ask: view.ask,
        trades: view.trades,
        rules: view.rules,
    });
    Ok(Json(Markets { markets: markets.collect() }))
}
