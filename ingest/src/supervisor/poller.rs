//! Tickers by REST: on a schedule, and at once when somebody asks for a refresh.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use model::{Channel, FeedPhase, Instrument};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::is_polled;
use super::rest::{NoAnswer, Rest};
use crate::clock;
use crate::config::SourceConfig;
use crate::connector::RestRequest;
use crate::decode::{Feed, Output};
use crate::intake::Intake;

/// Requests on their way at a time.
const CONCURRENT_MAX: usize = 8;

/// Asks for the tickers of some instruments now; answered when its ticks are durable, or could not be had.
#[derive(Debug)]
pub(super) struct PollNow {
    pub(super) instruments: Vec<Instrument>,
    pub(super) done: oneshot::Sender<()>,
}

#[derive(Debug)]
pub(super) struct Poller {
    source: SourceConfig,
    intake: Intake,
    rest: Rest,
    scheduled: bool,
    /// When each instrument last gave a ticker, and whether it is told as live.
    last: Vec<(Instant, FeedPhase)>,
    requests: u64,
    out: Output,
}

type Answer = (RestRequest, Result<(Vec<u8>, model::UnixNanos), NoAnswer>);

impl Poller {
    pub(super) fn new(source: &SourceConfig, intake: Intake, rest: Rest) -> Self {
        let now = Instant::now();
        Self {
            source: source.clone(),
            rest,
            scheduled: source.channels.contains(&Channel::Ticker),
            last: vec![(now, FeedPhase::Down); intake.plan.instruments.len()],
            intake,
            requests: 0,
            out: Output::default(),
        }
    }

    pub(super) async fn run(mut self, mut asked: mpsc::Receiver<PollNow>, stop: CancellationToken) {
        let mut schedule = tokio::time::interval(self.source.poll_every);
        schedule.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ask) = asked.recv() => {
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = self.refresh(ask) => {}
                    }
                }
                _ = schedule.tick(), if self.scheduled => {
                    let all: Vec<u16> = (0..self.intake.plan.instruments.len() as u16).collect();
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = self.poll(&all) => {}
                    }
                    self.watch();
                    self.intake.telemetry.settle(Instant::now());
                }
            }
        }
        if is_polled(&self.source, Channel::Ticker) {
            for instrument in 0..self.last.len() as u16 {
                self.phase(instrument, FeedPhase::Down);
            }
        }
    }

    /// Polls some instruments and waits until their ticks are durable.
    async fn refresh(&mut self, ask: PollNow) {
        let listed = (0..).zip(self.intake.plan.instruments.iter());
        let asked = listed.filter(|(_, listed)| ask.instruments.contains(&listed.instrument));
        let places: Vec<u16> = asked.map(|(place, _)| place).collect();
        self.poll(&places).await;
        // When the writer is gone, the stage is stopping.
        let _ = self.intake.outlet.barrier().await;
        // Whoever asked may have given up.
        let _ = ask.done.send(());
    }

    async fn poll(&mut self, instruments: &[u16]) {
        let endpoints = &self.source.endpoints;
        let mut requests = self.source.connector.ticker_requests(endpoints, &self.intake.plan, instruments).into_iter();
        let rest = self.rest.clone();
        let ask = |request: RestRequest| {
            let rest = rest.clone();
            async move {
                let answer = rest.get(&request.url).await;
                (request, answer)
            }
        };
        let mut running: FuturesUnordered<_> = requests.by_ref().take(CONCURRENT_MAX).map(ask).collect();
        while let Some(answer) = running.next().await {
            running.extend(requests.next().map(ask));
            self.take(answer);
        }
    }

    fn take(&mut self, (request, answer): Answer) {
        self.requests += 1;
        let (body, ts_recv) = match answer {
            Ok(answer) => answer,
            Err(NoAnswer::Unreachable(reason)) => return self.intake.trouble(reason),
            Err(NoAnswer::Refused(error)) => {
                let offset = self.offset(&request);
                return self.intake.refuse(offset, &error, &[], clock::now());
            }
        };
        self.intake.telemetry.frame(ts_recv);
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        match self.source.connector.decode_ticker(&self.intake.plan, &request, &body, ts_recv, &mut out) {
            Err(error) => {
                let offset = self.offset(&request);
                self.intake.refuse(offset, &error, &body, ts_recv);
            }
            // No room: the next poll brings the same figures anew.
            Ok(()) => match self.intake.emit(&out, ts_recv) {
                Ok(()) => self.saw(&out),
                Err(crate::outlet::Full) => self.intake.trouble("the log is behind: a poll was dropped".into()),
            },
        }
        self.out = out;
    }

    fn saw(&mut self, out: &Output) {
        let now = Instant::now();
        let polled = is_polled(&self.source, Channel::Ticker);
        for feed in &out.seen {
            let Some(last) = self.last.get_mut(feed.instrument as usize) else { continue };
            last.0 = now;
            if polled && last.1 != FeedPhase::Live {
                self.phase(feed.instrument, FeedPhase::Live);
            }
        }
    }

    /// Tells tickers that stay away.
    fn watch(&mut self) {
        let Some(idle_max) = self.source.rules.ticker_idle_max else { return };
        if !is_polled(&self.source, Channel::Ticker) {
            return;
        }
        let idle_max = idle_max.max(3 * self.source.poll_every + Duration::from_secs(1));
        let now = Instant::now();
        for instrument in 0..self.last.len() as u16 {
            let (last, phase) = self.last[instrument as usize];
            if phase != FeedPhase::Silent && now.duration_since(last) > idle_max {
                self.phase(instrument, FeedPhase::Silent);
            }
        }
    }

    fn phase(&mut self, instrument: u16, phase: FeedPhase) {
        self.last[instrument as usize].1 = phase;
        self.intake.tell(Feed::new(instrument, Channel::Ticker), phase, 0, clock::now());
    }

    fn offset(&self, request: &RestRequest) -> String {
        format!("request {} {}", self.requests, request.url)
    }
}
