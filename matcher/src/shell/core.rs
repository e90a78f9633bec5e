//! The state machine as a stage sees it: records in, records out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use journal::Record;
use journal::stage::{Core, Outputs as StageOutputs, RestoreError, Unwritten};
use model::exchange::Command;
use model::{Cause, CodecError, topic};

use super::answers::{Key, Waiters, answer, key_of};
use super::gateway::{Answer, GatewayError};
use super::unwritten::Keeper;
use crate::exchange::{Applied, Exchange, LOGIC_VERSION, OutputTopic, Outputs};

/// Place of `dead-letters` in the stage's configuration, after the exchange's own topics.
const DEAD_LETTERS: usize = OutputTopic::ALL.len();
/// Bytes of a refused record that a letter keeps, at most.
const KEPT_BYTES_MAX: usize = 256;

/// An exchange that callers may read while the stage writes.
pub(super) type Shared = Arc<Mutex<Exchange>>;

/// Locks an exchange. A panic inside `apply` is a broken invariant: its state must not be used again.
pub(super) fn lock(exchange: &Mutex<Exchange>) -> MutexGuard<'_, Exchange> {
    exchange.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The exchange of one shard.
pub(super) struct ShellCore {
    exchange: Shared,
    partition: u32,
    keeper: Keeper,
    /// Changes with every command, by what came of it: two replicas that differ show it at the first one.
    chain: u64,
    /// Commands that come next, by their offsets.
    ahead: VecDeque<(u64, Result<Command, CodecError>)>,
    // What follows is for the hooks and no state.
    /// None where another core serves: answers would never be taken.
    waiters: Option<Arc<Waiters>>,
    answers: Vec<(Key, Result<Answer, GatewayError>)>,
    applied: u64,
    undecodable: u64,
}

#[derive(serde::Serialize)]
struct DeadLetter<'a> {
    v: u32,
    source: &'a str,
    offset: String,
    reason: String,
    length: usize,
    input: String,
    cause: &'a Cause,
}

impl ShellCore {
    pub(super) fn new(seed: u64, partition: u32, waiters: Arc<Waiters>) -> Self {
        Self {
            exchange: Arc::new(Mutex::new(Exchange::new(seed))),
            partition,
            keeper: Keeper::default(),
            chain: 0,
            ahead: VecDeque::new(),
            waiters: Some(waiters),
            answers: Vec::new(),
            applied: 0,
            undecodable: 0,
        }
    }

    pub(super) fn exchange(&self) -> &Shared {
        &self.exchange
    }

    pub(super) fn answers(&mut self) -> &mut Vec<(Key, Result<Answer, GatewayError>)> {
        &mut self.answers
    }

    /// Commands applied and records refused so far by this core.
    pub(super) const fn counts(&self) -> (u64, u64) {
        (self.applied, self.undecodable)
    }

    fn keep_answer(&mut self, command: &Command, made: &Outputs, applied: Applied) {
        let Some(key) = key_of(&command.origin) else { return };
        let answer = match applied {
            Applied::Done => Ok(answer(made.offset, made.executions_of(command.account))),
            Applied::Skipped => Err(GatewayError::Superseded),
        };
        self.answers.push((key, answer));
    }

    /// The command of a record, decoded now or ahead of time.
    fn command_of(&mut self, record: &Record) -> Result<Command, CodecError> {
        match self.ahead.pop_front() {
            Some((offset, command)) if offset == record.offset => command,
            _ => {
                self.ahead.clear();
                Command::decode(&record.value)
            }
        }
    }

    fn apply_command(&mut self, offset: u64, command: &Command, made: &mut Outputs) -> Applied {
        let mut exchange = lock(&self.exchange);
        for (stage, ahead) in Exchange::PREFETCH.into_iter().enumerate() {
            // The command itself was taken out of the queue.
            if let Some((_, Ok(next))) = self.ahead.get(ahead - 1) {
                exchange.prefetch(stage, next);
            }
        }
        exchange.apply(offset, command, made)
    }

    fn refuse(&mut self, record: &Record, error: &CodecError, outputs: &mut StageOutputs) {
        self.undecodable += 1;
        let mut nothing = self.keeper.buffer();
        nothing.offset = record.offset;
        self.chain = nothing.chain(self.chain ^ record.value.len() as u64);
        self.keeper.put_back(nothing);
        let source = format!("{}/{}", topic::ORDERS, self.partition);
        outputs.push(DEAD_LETTERS, source.as_bytes(), |cause, out| {
            let kept = &record.value[..record.value.len().min(KEPT_BYTES_MAX)];
            let letter = DeadLetter {
                v: 1,
                source: &source,
                offset: record.offset.to_string(),
                reason: error.to_string(),
                length: record.value.len(),
                input: String::from_utf8_lossy(kept).into_owned(),
                cause,
            };
            serde_json::to_writer(out, &letter).expect("our records have JSON and memory takes it");
        });
    }
}

impl Core for ShellCore {
    fn logic_version(&self) -> u32 {
        LOGIC_VERSION
    }

    fn only_follow(&mut self) {
        self.waiters = None;
    }

    fn expect(&mut self, record: &Record) {
        self.ahead.push_back((record.offset, Command::decode(&record.value)));
    }

    fn apply(&mut self, record: &Record, outputs: &mut StageOutputs) {
        let command = match self.command_of(record) {
            Ok(command) => command,
            Err(error) => return self.refuse(record, &error, outputs),
        };
        let mut made = self.keeper.buffer();
        let applied = self.apply_command(record.offset, &command, &mut made);
        self.applied += 1;
        self.chain = made.chain(self.chain);
        if self.waiters.as_ref().is_some_and(|waiters| waiters.any()) {
            self.keep_answer(&command, &made, applied);
        }
        let written = self.waiters.is_none() || (0..OutputTopic::ALL.len()).all(|place| outputs.has_all(place));
        if written || made.is_empty() {
            self.keeper.put_back(made);
        } else {
            self.keeper.keep(made);
        }
    }

    fn take_unwritten(&mut self, all: bool) -> Option<Box<dyn Unwritten>> {
        self.keeper.take(all, self.partition)
    }

    fn snapshot(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.chain.to_le_bytes());
        lock(&self.exchange).encode_into(out);
    }

    fn restore(&mut self, _: u32, state: &[u8]) -> Result<(), RestoreError> {
        let (chain, rest) = state.split_first_chunk().ok_or_else(|| RestoreError("the state ends early".to_owned()))?;
        let exchange = Exchange::decode(rest).map_err(|error| RestoreError(error.to_string()))?;
        self.chain = u64::from_le_bytes(*chain);
        self.ahead.clear();
        *lock(&self.exchange) = exchange;
        Ok(())
    }

    fn state_hash(&self) -> u64 {
        self.chain
    }
}

#[cfg(test)]
mod tests {
    use journal::Partition;
    use model::exchange::{AccountId, CommandBody};
    use model::{Origin, Role, UnixNanos};
    use tokio::sync::oneshot;

    use super::*;

    /// Nobody asks one that follows: what it kept would stay for ever.
    #[test]
    fn only_the_core_that_serves_keeps_answers() {
        let role = "api".parse::<Role>().expect("a role");
        let waiters = Arc::new(Waiters::default());
        waiters.add(std::iter::once(((role, 0, 0), oneshot::channel().0)));
        let topics = OutputTopic::ALL.map(|topic| super::super::stage_topic(topic.name(), 1));
        let mut outputs = StageOutputs::discarding(&Partition::new(topic::ORDERS, 0), &topics);
        for (follows, answers) in [(false, 2), (true, 0)] {
            let mut core = ShellCore::new(7, 0, Arc::clone(&waiters));
            if follows {
                core.only_follow();
            }
            for offset in 0..2 {
                let (origin, at) = (Origin::Root { role, epoch: 0, sequence: offset }, UnixNanos(1));
                let body = CommandBody::Clock;
                let command = Command { origin, ts: at, account: AccountId::HOUSE, request: None, sent_at: at, body };
                let mut value = vec![];
                command.encode(&mut value);
                let record = Record { offset, key: Default::default(), value: value.into() };
                outputs.begin(offset);
                core.apply(&record, &mut outputs);
            }
            assert_eq!(core.answers().len(), answers, "follows: {follows}");
            assert_eq!(core.counts(), (2, 0));
        }
    }
}
