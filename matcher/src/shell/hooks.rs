//! What happens beside the fold: callers get their answers, the newest state can be read, metrics.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use journal::Offset;
use journal::stage::{Hooks, Phase};
use metrics::{Counter, Gauge};

use super::answers::Waiters;
use super::core::{Shared, ShellCore, lock};

/// Figures are passed on this often.
const TOLD_EVERY: Duration = Duration::from_millis(250);

/// The exchange that callers read; none until the stage has caught up.
pub(super) type Live = Arc<Mutex<Option<Shared>>>;

/// Answers callers and tells the metrics.
pub(super) struct ShellHooks {
    live: Live,
    waiters: Arc<Waiters>,
    told: Instant,
    commands: Counter,
    undecodable: Counter,
    open_orders: Gauge,
}

impl ShellHooks {
    pub(super) fn new(live: Live, waiters: Arc<Waiters>) -> Self {
        Self {
            live,
            waiters,
            told: Instant::now(),
            commands: metrics::counter!("millrace_matcher_commands_total"),
            undecodable: metrics::counter!("millrace_matcher_undecodable_total"),
            open_orders: metrics::gauge!("millrace_matcher_open_orders"),
        }
    }

    fn show(&self, core: &ShellCore) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if !live.as_ref().is_some_and(|shown| Arc::ptr_eq(shown, core.exchange())) {
            *live = Some(Arc::clone(core.exchange()));
        }
    }
}

impl Hooks<ShellCore> for ShellHooks {
    fn applied(&mut self, core: &mut ShellCore, _: Offset, phase: Phase) {
        self.waiters.answer(core.answers());
        if phase == Phase::Live {
            self.show(core);
        }
        if self.told.elapsed() >= TOLD_EVERY {
            self.told = Instant::now();
            let (applied, undecodable) = core.counts();
            self.commands.absolute(applied);
            self.undecodable.absolute(undecodable);
            self.open_orders.set(lock(core.exchange()).open_orders_count() as f64);
            self.waiters.sweep();
        }
    }
}
