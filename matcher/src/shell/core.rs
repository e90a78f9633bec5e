//! The state machine as a stage sees it: records in, records out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use journal::Record;
use journal::stage::{Core, Outputs as StageOutputs, RestoreError};
use model::exchange::Command;
use model::{Cause, CodecError, topic};

use super::answers::{Key, Waiters, answer, key_of};
use super::gateway::{Answer, GatewayError};
use crate::exchange::{Applied, Exchange, LOGIC_VERSION, OutputKey, OutputTopic, Outputs};

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
    outputs: Outputs,
    /// Changes with every command, by what came of it: two replicas that differ show it at the first one.
    chain: u64,
    /// Commands that come next, by their offsets.
    ahead: VecDeque<(u64, Result<Command, CodecError>)>,
    // What follows is for the hooks and no state.
    waiters: Arc<Waiters>,
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
            outputs: Outputs::default(),
            chain: 0,
            ahead: VecDeque::new(),
            waiters,
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

    fn keep_answer(&mut self, command: &Command, offset: u64, applied: Applied) {
        let Some(key) = key_of(&command.origin) else { return };
        let answer = match applied {
            Applied::Done => Ok(answer(offset, self.outputs.executions_of(command.account))),
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

    fn apply_command(&mut self, offset: u64, command: &Command) -> Applied {
        let mut exchange = lock(&self.exchange);
        for (stage, ahead) in Exchange::PREFETCH.into_iter().enumerate() {
            // The command itself was taken out of the queue.
            if let Some((_, Ok(next))) = self.ahead.get(ahead - 1) {
                exchange.prefetch(stage, next);
            }
        }
        exchange.apply(offset, command, &mut self.outputs)
    }

    fn refuse(&mut self, record: &Record, error: &CodecError, outputs: &mut StageOutputs) {
        self.undecodable += 1;
        self.outputs.clear();
        self.outputs.offset = record.offset;
        self.chain = self.outputs.chain(self.chain ^ record.value.len() as u64);
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

    fn expect(&mut self, record: &Record) {
        self.ahead.push_back((record.offset, Command::decode(&record.value)));
    }

    fn apply(&mut self, record: &Record, outputs: &mut StageOutputs) {
        let command = match self.command_of(record) {
            Ok(command) => command,
            Err(error) => return self.refuse(record, &error, outputs),
        };
        let applied = self.apply_command(record.offset, &command);
        self.applied += 1;
        self.chain = self.outputs.chain(self.chain);
        if self.waiters.any() {
            self.keep_answer(&command, record.offset, applied);
        }
        let mut account = [0u8; 10];
        for (place, topic) in OutputTopic::ALL.into_iter().enumerate() {
            if outputs.has_all(place) {
                continue;
            }
            for index in 0..self.outputs.len(topic) {
                let key = match self.outputs.key(topic, index) {
                    OutputKey::Account(id) => decimal(id.0, &mut account),
                    OutputKey::Instrument(name) => name.as_bytes(),
                };
                outputs.push(place, key, |_, out| self.outputs.write(topic, index, self.partition, out));
            }
        }
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

/// An account's number as decimal digits, without allocation.
fn decimal(mut value: u32, buffer: &mut [u8; 10]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return &buffer[at..];
        }
    }
}
