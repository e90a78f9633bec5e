//! `GET /ws/orders`: one WebSocket to trade over and to hear what became of it.
//!
//! ```text
//! → {"op":"place","id":1,"args":{"client_order_id":"a1","instrument":"BTC-USDT", …}}
//! ← {"op":"place","id":1,"status":201,"data":{"status":"filled", …}}
//! ← {"op":"place","id":2,"status":422,"error":{"code":"INSUFFICIENT_FUNDS","message":"…"}}
//! → {"op":"subscribe","args":{"channel":"executions","after":1041}}
//! ← {"op":"subscribe","status":200,"data":{"channel":"executions","after":1041}}
//! ← {"channel":"executions","position":1057,"data":{"account":1,"sequence":9, …}}
//! ```
//! The arguments are the bodies of the REST routes, the answers and their statuses the same.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::Utf8Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::trader_words::{self, Watch, Word, answer, done, followed};
use crate::audit::Call;
use crate::exchange::{Ask, Caller, Following, HEADER, Sent, Step};
use crate::link::{self, Heard, Leave, Link, Upgrade};
use crate::problem::{ErrorBody, Problem};
use crate::state::Shared;
use matcher::shell::Lane;

/// Time to say who calls.
const LOGIN_WITHIN: Duration = Duration::from_secs(10);
/// How long a command waits for the answers to those before it that take the other way to the log.
const HELD_MAX: Duration = Duration::from_millis(500);
/// How often a connection that watches over orders gives a sign of life.
const RENEW_EVERY: Duration = Duration::from_secs(10);

/// A WebSocket to trade over, and for the account's reports.
///
/// The key goes in `X-Api-Key`, or in a first message `{"op":"login","args":{"key":"…"}}`. Operations are `place`,
/// `place_oco`, `amend`, `cancel`, `cancel_all`, `cancel_all_after`, `cancel_on_disconnect`, `subscribe`,
/// `unsubscribe` and `ping`; `args` are as the bodies of the REST routes, an `id` comes back in the answer, and
/// answers have REST's `status` with `data` or `error`. Channels are `executions` and `ledger`; with `after`, the
/// `position` of the last report that was got, every later one comes once. See docs/api.md.
#[utoipa::path(get, path = "/ws/orders", tag = "exchange",
    params(("X-Api-Key" = Option<String>, Header, description = "The account's key; otherwise `login` comes first")),
    responses(
        (status = 101, description = "The protocol changes to WebSocket"),
        (status = 400, description = "The request is no WebSocket handshake", body = ErrorBody),
        (status = 401, description = "An unknown key", body = ErrorBody),
        (status = 403, description = "A page of another origin asks", body = ErrorBody),
        (status = 503, description = "Too many streams are open, or there is no exchange", body = ErrorBody),
    ))]
pub(super) async fn trade(
    State(state): State<Shared>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    state.desk()?;
    let caller = headers.get(HEADER).map(|key| Caller::with_key(&state, key.as_bytes())).transpose()?;
    let limits = &state.config.limits;
    let burst = limits.messages_burst_max.max(limits.commands_burst_max + limits.cancels_burst_max);
    let rate = limits.messages_per_second_max + limits.commands_per_second_max + limits.cancels_per_second_max;
    link::open(state, "trader", upgrade, (burst, rate), |link| Trader::new(link, caller).run())
}

/// Answers that are on their way, already as text.
type Answers = FuturesUnordered<Pin<Box<dyn Future<Output = Utf8Bytes> + Send>>>;

/// What names a request in its answer.
#[derive(Debug)]
struct Name {
    op: &'static str,
    id: Option<Box<RawValue>>,
}

/// A command that waits for the answers to those before it.
struct Held {
    name: Name,
    ask: Ask,
    until: Instant,
}

/// One client.
struct Trader {
    link: Link,
    caller: Option<Caller>,
    login_by: Instant,
    answers: Answers,
    /// The way that the commands take whose answers are awaited.
    lane: Lane,
    held: Option<Held>,
    following: Vec<Following>,
    /// Reports that are ready to be sent.
    texts: Vec<Utf8Bytes>,
    wake: Arc<Notify>,
    /// When to give the next sign of life; none where nobody asked to cancel on disconnect.
    renew_at: Option<Instant>,
}

impl Trader {
    fn new(link: Link, caller: Option<Caller>) -> Self {
        Self {
            link,
            caller,
            login_by: Instant::now() + LOGIN_WITHIN,
            answers: Answers::new(),
            lane: Lane::Orders,
            held: None,
            following: Vec::new(),
            texts: Vec::new(),
            wake: Arc::new(Notify::new()),
            renew_at: None,
        }
    }

    async fn run(mut self) -> (Link, Leave) {
        let leave = loop {
            if let Err(leave) = self.step().await {
                break leave;
            }
        };
        if let (Some(caller), Some(_)) = (self.caller.take(), self.renew_at) {
            // The client is told goodbye meanwhile; the server's stop waits for this task.
            let tasks = self.link.state().tasks.clone();
            tasks.spawn(cancel_left(caller, self.answers));
        }
        (self.link, leave)
    }

    /// Sends what is ready, then takes what the client says or waits for either.
    async fn step(&mut self) -> Result<(), Leave> {
        self.release_held();
        let more = self.send_ready().await?;
        let in_flight_max = self.link.state().config.limits.commands_in_flight_max;
        let listens = self.held.is_none() && self.answers.len() < in_flight_max;
        let next_time = self.next_time();
        let reads = self.following.iter().any(Following::is_past);
        tokio::select! {
            biased;
            heard = self.link.hear(listens) => match heard? {
                Heard::Text(text) => self.take(&text).await,
                Heard::Binary => {
                    let message = "binary messages are not understood: send JSON text";
                    let problem = Problem::bad_request("bad_message", message);
                    self.link.say(answer("", None, Err(problem))).await
                }
                Heard::Nothing => Ok(()),
            },
            Some(text) = self.answers.next(), if !self.answers.is_empty() => self.link.say(text).await,
            () = sleep_until(next_time.unwrap_or_else(Instant::now)), if next_time.is_some() => self.on_time(),
            read = read_past(&mut self.following, &mut self.texts), if reads => read,
            () = std::future::ready(()), if more => Ok(()),
            () = self.wake.notified() => Ok(()),
        }
    }

    fn next_time(&self) -> Option<Instant> {
        let login = self.caller.is_none().then_some(self.login_by);
        [login, self.held.as_ref().map(|held| held.until), self.renew_at].into_iter().flatten().min()
    }

    fn on_time(&mut self) -> Result<(), Leave> {
        let now = Instant::now();
        let Some(caller) = &self.caller else {
            if now < self.login_by {
                return Ok(());
            }
            let reason = format!("no login within {} s", LOGIN_WITHIN.as_secs());
            return Err(Leave::policy(reason, "no_login"));
        };
        if self.renew_at.is_some_and(|at| at <= now) {
            self.renew_at = Some(now + RENEW_EVERY);
            // One that fails leaves two more before the time is over; nobody waits for the answer.
            if let Err(problem) = caller.send(trader_words::sign_of_life(caller.account())) {
                tracing::warn!(?problem, account = %caller.account(), "a sign of life was not taken");
            }
        }
        Ok(())
    }

    /// Whether there may be more at once.
    async fn send_ready(&mut self) -> Result<bool, Leave> {
        let mut sent = false;
        while let Some(Some(text)) = self.answers.next().now_or_never() {
            self.link.add(text).await?;
            sent = true;
        }
        let mut more = false;
        for following in &mut self.following {
            match following.take(&mut self.texts) {
                Step::More => more = true,
                Step::Nothing => {}
                Step::Slow => {
                    let (channel, after) = (following.report().topic(), following.after().unwrap_or(0));
                    let reason = format!("too slow: connect and subscribe to {channel} after {after}");
                    return Err(Leave::policy(reason, "slow"));
                }
            }
        }
        for text in self.texts.drain(..) {
            self.link.add(text).await?;
            sent = true;
        }
        if sent {
            self.link.flush().await?;
        }
        Ok(more)
    }

    async fn take(&mut self, text: &str) -> Result<(), Leave> {
        let request = match trader_words::read(text) {
            Ok(request) => request,
            Err(problem) => return self.link.say(answer("", None, Err(problem))).await,
        };
        let name = Name { op: request.op, id: request.id };
        let word = match request.word {
            Ok(word) => word,
            Err(problem) => return self.tell(name, Err(problem)).await,
        };
        let Some(caller) = self.caller.clone() else {
            let outcome = match word {
                Word::Login(key) => Caller::with_key(self.link.state(), key.as_bytes()).map(|caller| {
                    self.caller = Some(caller);
                    done()
                }),
                Word::Ping => Ok(done()),
                _ => Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "login comes first, or X-Api-Key")),
            };
            return self.tell(name, outcome).await;
        };
        match word {
            Word::Ping => self.tell(name, Ok(done())).await,
            Word::Login(_) => {
                let problem = Problem::bad_request("logged_in", "this connection has an account already");
                self.tell(name, Err(problem)).await
            }
            Word::Command(ask) => match ask(&caller) {
                Ok(ask) => self.command(name, ask).await,
                Err(problem) => {
                    Call::operation(&caller, name.op).refused(&problem).await;
                    self.tell(name, Err(problem)).await
                }
            },
            Word::Watch(watch) => self.watch(name, &caller, watch).await,
            Word::Subscribe { channel, after } => {
                self.following.retain(|following| following.report() != channel);
                let begun = Following::begin(&caller, channel, after.as_ref(), &self.wake).await;
                let told = begun.map(|following| {
                    let data = followed(channel, following.after());
                    self.following.push(following);
                    data
                });
                self.tell(name, told).await
            }
            Word::Unsubscribe { channel } => {
                self.following.retain(|following| following.report() != channel);
                self.tell(name, Ok(done())).await
            }
        }
    }

    async fn tell(&mut self, name: Name, outcome: Result<trader_words::Data, Problem>) -> Result<(), Leave> {
        self.link.say(answer(name.op, name.id.as_deref(), outcome)).await
    }

    /// Commands of one connection are carried out in the order in which they came. Those that take the same way
    /// to the log stay in order by themselves; one that takes the other way waits for the answers, for a while.
    async fn command(&mut self, name: Name, ask: Ask) -> Result<(), Leave> {
        if !self.answers.is_empty() && ask.lane() != self.lane {
            self.held = Some(Held { name, ask, until: Instant::now() + HELD_MAX });
            return Ok(());
        }
        self.submit(name, ask);
        Ok(())
    }

    fn release_held(&mut self) {
        let ready = |held: &Held| self.answers.is_empty() || held.until <= Instant::now();
        if self.held.as_ref().is_some_and(ready)
            && let Some(Held { name, ask, .. }) = self.held.take()
        {
            self.submit(name, ask);
        }
    }

    /// Hands a command over; its answer comes when it is there.
    fn submit(&mut self, name: Name, ask: Ask) -> bool {
        let Some(caller) = &self.caller else { return false };
        self.lane = ask.lane();
        let call = Call::operation(caller, name.op);
        let sent = caller.send(ask);
        let ok = sent.is_ok();
        self.answers.push(Box::pin(async move {
            let outcome = match sent {
                Ok(sent) => sent.reply().await,
                Err(problem) => Err(problem),
            };
            match &outcome {
                Ok(reply) => call.done(reply).await,
                Err(problem) => call.refused(problem).await,
            }
            answer(name.op, name.id.as_deref(), outcome.map(trader_words::Data::from))
        }));
        ok
    }

    async fn watch(&mut self, name: Name, caller: &Caller, watch: Watch) -> Result<(), Leave> {
        let (account, watches) = (caller.account(), &caller.desk().watches);
        match watch {
            Watch::On => {
                let watches_already = self.renew_at.is_some();
                // Where the timer was not taken, the answer says so and nobody watches.
                if self.submit(name, trader_words::sign_of_life(account)) {
                    if !watches_already {
                        watches.add(account);
                    }
                    self.renew_at = Some(Instant::now() + RENEW_EVERY);
                }
                Ok(())
            }
            Watch::Off if self.renew_at.take().is_some() && watches.remove(account) => {
                self.submit(name, trader_words::end_of_watch(account));
                Ok(())
            }
            Watch::Off => self.tell(name, Ok(done())).await,
        }
    }
}

/// Reads on in the first of the channels that are behind. Cancel safe.
async fn read_past(following: &mut [Following], texts: &mut Vec<Utf8Bytes>) -> Result<(), Leave> {
    let Some(behind) = following.iter_mut().find(|following| following.is_past()) else { return Ok(()) };
    behind.read(texts).await.map_err(|problem| Leave::policy(problem.short(), "unreadable"))
}

/// Cancels an account's orders after a connection that watched over them has ended: at once, and again when
/// commands that were still on their way have been carried out. Where the exchange does not take it, the dead-man
/// timer does the same a little later.
async fn cancel_left(caller: Caller, mut answers: Answers) {
    let account = caller.account();
    let mut sent: Vec<Result<Sent, Problem>> = vec![caller.send(trader_words::cancel_all(account))];
    if !answers.is_empty() {
        while answers.next().await.is_some() {}
        sent.push(caller.send(trader_words::cancel_all(account)));
    }
    if caller.desk().watches.remove(account) {
        sent.push(caller.send(trader_words::end_of_watch(account)));
    }
    for sent in sent {
        let outcome = match sent {
            Ok(sent) => sent.reply().await.map(drop),
            Err(problem) => Err(problem),
        };
        if let Err(problem) = outcome {
            tracing::warn!(?problem, %account, "orders of a lost connection are left to the dead-man timer");
        }
    }
    metrics::counter!("millrace_api_cancelled_on_disconnect_total").increment(1);
}
