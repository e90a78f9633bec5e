//! What is said on `/ws/orders`, in both directions.

use std::borrow::Cow;

use axum::extract::ws::Utf8Bytes;
use model::UnixNanos;
use model::exchange::{AccountId, CommandBody};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::unix_now;
use crate::exchange::{
    After, AmendForm, Ask, Caller, CancelAfterForm, OcoForm, OrderForm, Reply, Report, instrument, order_ref,
};
use crate::problem::{ErrorDetail, Problem, shown};

/// How long orders stay without a sign of life of a connection that watches over them, in nanoseconds.
const WATCH_NS: i64 = 30_000_000_000;

/// Makes a command for the account that asks.
pub(super) type Asking = Box<dyn FnOnce(&Caller) -> Result<Ask, Problem> + Send>;

/// What a client asks for.
pub(super) enum Word {
    /// With this key.
    Login(String),
    /// A command; the caller gives the account.
    Command(Asking),
    /// Cancel on disconnect.
    Watch(Watch),
    /// Reports.
    Subscribe {
        /// Of which kind.
        channel: Report,
        /// From where on.
        after: Option<After>,
    },
    /// No more reports.
    Unsubscribe {
        /// Of which kind.
        channel: Report,
    },
    /// Are you there.
    Ping,
}

/// Whether orders go when the connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    /// They go.
    On,
    /// They stay.
    Off,
}

/// A message that could be told from others, with what it asks for.
pub(super) struct Request {
    pub(super) op: &'static str,
    pub(super) id: Option<Box<RawValue>>,
    pub(super) word: Result<Word, Problem>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginArgs {
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AmendArgs {
    order: String,
    price: Option<String>,
    quantity: Option<String>,
    trigger: Option<String>,
    client_order_id: Option<String>,
    sent_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelArgs {
    order: String,
    client_order_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelAllArgs {
    instrument: Option<String>,
    client_order_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WatchArgs {
    on: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubscribeArgs {
    channel: Report,
    after: Option<After>,
}

const OPS: [&str; 11] = [
    "login",
    "place",
    "place_oco",
    "amend",
    "cancel",
    "cancel_all",
    "cancel_all_after",
    "cancel_on_disconnect",
    "subscribe",
    "unsubscribe",
    "ping",
];

/// Reads a message.
///
/// # Errors
/// When it cannot even be told what it is about; what is wrong with its arguments stands in the request.
pub(super) fn read(text: &str) -> Result<Request, Problem> {
    let envelope: Envelope<'_> = serde_json::from_str(text)
        .map_err(|error| Problem::bad_request("bad_message", format!("the message is not understood: {error}")))?;
    let id = envelope.id.map(ToOwned::to_owned);
    let Some(op) = OPS.into_iter().find(|op| *op == envelope.op) else {
        let message = format!("op {:?} is not known: one of {}", shown(&envelope.op), OPS.join(", "));
        return Ok(Request { op: "", id, word: Err(Problem::bad_request("bad_op", message)) });
    };
    Ok(Request { op, id, word: word(op, envelope.args) })
}

fn word(op: &str, args: Option<&RawValue>) -> Result<Word, Problem> {
    Ok(match op {
        "login" => Word::Login(read_args::<LoginArgs>(args)?.key),
        "place" => {
            let form: OrderForm = read_args(args)?;
            command(move |caller| form.ask(caller.account()))
        }
        "place_oco" => {
            let form: OcoForm = read_args(args)?;
            command(move |caller| form.ask(caller.account()))
        }
        "amend" => {
            let AmendArgs { order, price, quantity, trigger, client_order_id, sent_at } = read_args(args)?;
            let form = AmendForm { price, quantity, trigger, client_order_id, sent_at };
            let order = order_ref(&order)?;
            command(move |caller| form.ask(caller.account(), order))
        }
        "cancel" => {
            let CancelArgs { order, client_order_id } = read_args(args)?;
            let body = CommandBody::Cancel { order: order_ref(&order)? };
            command(move |caller| Ask::new(caller.account(), body).named(client_order_id.as_deref(), None))
        }
        "cancel_all" => {
            let empty = CancelAllArgs { instrument: None, client_order_id: None };
            let args = if args.is_some() { read_args(args)? } else { empty };
            let body = CommandBody::CancelAll { instrument: instrument(args.instrument.as_deref())? };
            command(move |caller| Ask::new(caller.account(), body).named(args.client_order_id.as_deref(), None))
        }
        "cancel_all_after" => {
            let form: CancelAfterForm = read_args(args)?;
            command(move |caller| form.ask(caller.account()))
        }
        "cancel_on_disconnect" => Word::Watch(if read_args::<WatchArgs>(args)?.on { Watch::On } else { Watch::Off }),
        "subscribe" => {
            let SubscribeArgs { channel, after } = read_args(args)?;
            Word::Subscribe { channel, after }
        }
        "unsubscribe" => Word::Unsubscribe { channel: read_args::<SubscribeArgs>(args)?.channel },
        _ => Word::Ping,
    })
}

fn command(ask: impl FnOnce(&Caller) -> Result<Ask, Problem> + Send + 'static) -> Word {
    Word::Command(Box::new(ask))
}

fn read_args<T: DeserializeOwned>(args: Option<&RawValue>) -> Result<T, Problem> {
    let text = args.map_or("{}", RawValue::get);
    serde_json::from_str(text)
        .map_err(|error| Problem::bad_request("bad_args", format!("args are not as expected: {error}")))
}

/// What an answer holds.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Data {
    /// What became of a command.
    Reply(#[serde(serialize_with = "outcome_of")] Reply),
    /// Where reports go on.
    Followed {
        /// Of which kind.
        channel: Report,
        /// After which position; none where nothing was reported yet.
        after: Option<u64>,
    },
    /// It is done.
    Done {
        /// `done`.
        status: &'static str,
    },
}

fn outcome_of<S: serde::Serializer>(reply: &Reply, serializer: S) -> Result<S::Ok, S::Error> {
    reply.outcome.serialize(serializer)
}

impl From<Reply> for Data {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

/// An answer that says no more than that.
pub(super) const fn done() -> Data {
    Data::Done { status: "done" }
}

/// An answer to a subscription.
pub(super) const fn followed(channel: Report, after: Option<u64>) -> Data {
    Data::Followed { channel, after }
}

/// An answer as it is sent.
pub(super) fn answer(op: &str, id: Option<&RawValue>, outcome: Result<Data, Problem>) -> Utf8Bytes {
    #[derive(Serialize)]
    struct Answer<'a> {
        #[serde(skip_serializing_if = "str::is_empty")]
        op: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RawValue>,
        status: u16,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<Data>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<ErrorDetail>,
    }
    let (status, data, error) = match outcome {
        Ok(Data::Reply(reply)) => (reply.status.as_u16(), Some(Data::Reply(reply)), None),
        Ok(data) => (200, Some(data), None),
        Err(problem) => (problem.status().as_u16(), None, Some(problem.into_detail())),
    };
    let answer = Answer { op, id, status, data, error };
    serde_json::to_string(&answer).expect("an answer serialises to memory").into()
}

/// Keeps the orders of a connection that watches over them.
pub(super) fn sign_of_life(account: AccountId) -> Ask {
    let deadline = Some(UnixNanos(unix_now().0.saturating_add(WATCH_NS)));
    Ask::new(account, CommandBody::CancelAllAfter { deadline })
}

/// Stops the timer.
pub(super) fn end_of_watch(account: AccountId) -> Ask {
    Ask::new(account, CommandBody::CancelAllAfter { deadline: None })
}

/// Takes all orders away.
pub(super) fn cancel_all(account: AccountId) -> Ask {
    Ask::new(account, CommandBody::CancelAll { instrument: None })
}
