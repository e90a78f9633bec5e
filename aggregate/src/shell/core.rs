//! The pure core as a stage sees it: records in, records out.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use journal::Record;
use journal::stage::{Core, Outputs, RestoreError};
use model::{Cause, CodecError, CompositePrice, Instrument, Tick, TickBody, UnixNanos, topic};

use crate::config::Config;
use crate::core::{Aggregator, Counters, LOGIC_VERSION, Output, Stamp};

/// Places of the topics in the stage's configuration.
const PRICES: usize = 0;
const CANDLES: usize = 1;
const DEAD_LETTERS: usize = 2;
const TICKS: usize = 3;

/// Bytes of the refused record that a letter keeps, at most.
const KEPT_BYTES_MAX: usize = 256;

/// Which partitions of `ticks` need a conversion rate.
pub(super) struct Routes(BTreeMap<Instrument, Vec<u32>>);

impl Routes {
    pub(super) fn new(rules: &Config, partitions: u32) -> Self {
        let of = |rate: Instrument| {
            let of = |consumer: Instrument| topic::partition_for(topic::ticks_key(&consumer).as_bytes(), partitions);
            let mut of: Vec<u32> = rules.consumers_of(rate).map(of).collect();
            of.sort_unstable();
            of.dedup();
            of
        };
        Self(rules.rates().into_iter().map(|rate| (rate, of(rate))).collect())
    }
}

/// The aggregation of one partition.
pub(super) struct ShellCore {
    aggregator: Aggregator,
    routes: Arc<Routes>,
    partition: u32,
    outputs: Vec<Output>,
    /// Changes with every output, by what it says: two cores that differ show it at the first one.
    chain: u64,
    /// The newest `Configure` record's hash.
    configured: Option<u64>,
    // What follows is for the hooks and no state.
    /// The newest price of each instrument since it was last taken, with its JSON where that was written.
    fresh: BTreeMap<Instrument, (CompositePrice, Option<Bytes>)>,
    /// When the newest record was received.
    last_recv: Option<UnixNanos>,
    /// Records that are no ticks of ours.
    undecodable: u64,
}

/// A record that cannot be used, as `dead-letters` carries those of every source.
#[derive(serde::Serialize)]
struct DeadLetter<'a> {
    v: u32,
    /// Topic and partition.
    source: &'a str,
    /// Offset in it.
    offset: String,
    reason: String,
    length: usize,
    /// Its first bytes; what is not UTF-8 shows as U+FFFD.
    input: String,
    cause: &'a Cause,
}

impl ShellCore {
    pub(super) fn new(rules: Arc<Config>, routes: Arc<Routes>, partition: u32) -> Self {
        Self {
            aggregator: Aggregator::new(rules),
            routes,
            partition,
            outputs: Vec::new(),
            chain: 0,
            configured: None,
            fresh: BTreeMap::new(),
            last_recv: None,
            undecodable: 0,
        }
    }

    pub(super) const fn counters(&self) -> &Counters {
        self.aggregator.counters()
    }

    pub(super) const fn undecodable(&self) -> u64 {
        self.undecodable
    }

    pub(super) const fn configured(&self) -> Option<u64> {
        self.configured
    }

    pub(super) const fn last_recv(&self) -> Option<UnixNanos> {
        self.last_recv
    }

    /// The newest price of each instrument since the last call.
    pub(super) fn take_fresh(&mut self) -> BTreeMap<Instrument, (CompositePrice, Option<Bytes>)> {
        std::mem::take(&mut self.fresh)
    }

    fn mix(&mut self, values: [u64; 4]) {
        for value in values {
            // The constant is 2^64 over the golden ratio: it spreads nearby values.
            self.chain = (self.chain.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn write(&mut self, output: Output, outputs: &mut Outputs) {
        match output {
            Output::Price(price) => {
                self.mix([1, price.sequence, price.raw.raw() as u64, price.ts_event.0 as u64]);
                let mut json = None;
                outputs.push(PRICES, price.instrument.as_str().as_bytes(), |_, out| {
                    let start = out.len();
                    price.write_json(out);
                    json = Some(Bytes::copy_from_slice(&out[start..]));
                });
                self.fresh.insert(price.instrument, (price, json));
            }
            Output::Candle(candle) => {
                let (close, revision) = (candle.close.raw() as u64, u64::from(candle.revision));
                self.mix([2, candle.start.0 as u64 ^ candle.trades, close, revision]);
                let key = format!("{}/{}", candle.instrument, candle.interval);
                outputs.push(CANDLES, key.as_bytes(), |_, out| put_json(out, &candle));
            }
            Output::Rate(tick) => {
                let (TickBody::Rate(rate), model::Origin::Derived(cause)) = (&tick.body, &tick.origin) else { return };
                self.mix([3, rate.price.raw() as u64, u64::from(cause.index), tick.ts_event.0 as u64]);
                let key = topic::ticks_key(&rate.instrument).as_bytes();
                for partition in self.routes.0.get(&rate.instrument).map_or(&[][..], Vec::as_slice) {
                    outputs.push_to(TICKS, *partition, cause.index, key, |_, out| tick.encode(out));
                }
            }
        }
    }

    fn refuse(&mut self, record: &Record, error: &CodecError, outputs: &mut Outputs) {
        self.undecodable += 1;
        self.mix([4, record.offset, record.value.len() as u64, 0]);
        let source = format!("{}/{}", topic::TICKS, self.partition);
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
            put_json(out, &letter);
        });
    }
}

fn put_json(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    serde_json::to_writer(out, value).expect("our records have JSON and memory takes it");
}

/// Version of what this adds to the core: the chain, the configuration's hash.
const SHELL_VERSION: u32 = 1;

impl Core for ShellCore {
    fn logic_version(&self) -> u32 {
        LOGIC_VERSION * 1_000 + SHELL_VERSION
    }

    fn apply(&mut self, record: &Record, outputs: &mut Outputs) {
        let tick = match Tick::decode(&record.value) {
            Ok(tick) => tick,
            Err(error) => return self.refuse(record, &error, outputs),
        };
        self.last_recv = Some(tick.ts_recv);
        if let TickBody::Configure(configure) = &tick.body {
            self.configured = Some(configure.hash);
        }
        let stamp = Stamp { partition: self.partition, offset: record.offset };
        let mut made = std::mem::take(&mut self.outputs);
        self.aggregator.apply(stamp, &tick, &mut made);
        for output in made.drain(..) {
            self.write(output, outputs);
        }
        self.outputs = made;
    }

    fn snapshot(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.chain.to_le_bytes());
        out.push(u8::from(self.configured.is_some()));
        out.extend_from_slice(&self.configured.unwrap_or_default().to_le_bytes());
        out.extend_from_slice(&self.aggregator.snapshot());
    }

    fn restore(&mut self, _: u32, state: &[u8]) -> Result<(), RestoreError> {
        let short = || RestoreError("the state ends early".into());
        let (chain, rest) = state.split_first_chunk().ok_or_else(short)?;
        let (configured, rest) = rest.split_first_chunk::<9>().ok_or_else(short)?;
        let [is_configured, hash @ ..] = *configured;
        self.chain = u64::from_le_bytes(*chain);
        self.configured = (is_configured != 0).then(|| u64::from_le_bytes(hash));
        let rules = Arc::clone(self.aggregator.config());
        // Changed rules take over what the older ones knew, rather than fold old records anew.
        let restored = match Aggregator::restore(Arc::clone(&rules), rest) {
            Err(crate::core::RestoreError::Config { .. }) => Aggregator::adopt(rules, rest),
            other => other,
        };
        self.aggregator = restored.map_err(|error| RestoreError(error.to_string()))?;
        Ok(())
    }

    fn state_hash(&self) -> u64 {
        self.chain ^ self.aggregator.position()
    }
}
