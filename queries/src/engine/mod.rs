//! Plans and runs statements, whatever door they came through.

mod answer;
mod catalog;
mod memory;
mod session;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ParamValues;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use futures_util::FutureExt;
use object_store::ObjectStore;
use sink::lake::Lake;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::error::{ErrorKind, SqlError};
use crate::limits::Limits;
use crate::live::LAKE;
use crate::statement::{self, CopyFormat};

use self::memory::Memory;

pub(crate) use self::memory::Share;

pub use answer::Answer;
pub use catalog::{Caller, Pinned, Tables};

/// Time that a statement waits for a place, out of its own.
const PLACE_WITHIN: Duration = Duration::from_secs(2);

/// The engine of a process. All statements share its memory and its places.
#[derive(Debug)]
pub struct Engine {
    limits: Arc<Limits>,
    runtime: Arc<RuntimeEnv>,
    memory: Arc<Memory>,
    template: session::Template,
    places: Arc<Semaphore>,
}

/// A statement that is planned and has not begun.
pub struct Planned {
    context: SessionContext,
    plan: LogicalPlan,
    /// The columns of the answer.
    pub schema: SchemaRef,
    /// Types of `$1`, `$2` and so on, where the statement tells them.
    pub parameters: Vec<Option<DataType>>,
    /// Set when it was `COPY (…) TO STDOUT`.
    pub copy: Option<CopyFormat>,
    /// What a reader has to know of the answer: how far the tables reach when that is not up to now.
    pub notes: Vec<String>,
    deadline: Instant,
    bounds: Bounds,
    held: Held,
}

/// What a statement has while it is there: a place among those at work and its share of the memory.
struct Held {
    share: Arc<Share>,
    _place: OwnedSemaphorePermit,
}

/// What one statement may take, at most the engine's own limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Time, from its arrival to its last row.
    pub time_max: Duration,
    /// Rows of the answer.
    pub rows_max: u64,
}

impl Engine {
    /// An engine with these limits.
    ///
    /// # Errors
    /// When the directory for spilling cannot be made.
    pub fn new(limits: Limits) -> Result<Self, SqlError> {
        let runtime = session::runtime(&limits)?;
        let memory =
            Memory::new(Arc::clone(&runtime.memory_pool), limits.memory_bytes_max / limits.statements_max.max(1));
        let template = session::Template::new(&limits, &runtime);
        let places = Arc::new(Semaphore::new(limits.statements_max));
        Ok(Self { limits: Arc::new(limits), runtime, memory: Arc::new(memory), template, places })
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Holds this process, which is the engine's alone, to so many bytes of memory: near them statements that hold much
    /// are refused more, and past that one is ended. Where that does not help for seconds, the process ends.
    ///
    /// # Errors
    /// When the system does not say what the process holds.
    pub fn hold_process_to(&self, bytes: u64) -> std::io::Result<()> {
        self.memory.watch(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Makes a lake known, so that its files can be read.
    ///
    /// # Errors
    /// Never with an address that is right, which it is.
    pub fn register_lake(&self, lake: &Lake) -> Result<(), SqlError> {
        self.register_store(&ObjectStoreUrl::parse(LAKE)?, lake.objects());
        Ok(())
    }

    /// Makes a store known under an address, where tables' files are.
    pub fn register_store(&self, address: &ObjectStoreUrl, store: Arc<dyn ObjectStore>) {
        self.runtime.register_object_store(address.as_ref(), store);
    }

    /// What a statement may take that asks for nothing less.
    pub fn bounds(&self) -> Bounds {
        Bounds { time_max: self.limits.time_max, rows_max: self.limits.rows_max }
    }

    /// Plans a statement: the one way from text to a plan. The tables are pinned here, all of them at once.
    ///
    /// # Errors
    /// When it is refused, not understood, or all places are taken.
    pub async fn plan(
        &self,
        sql: &str,
        tables: &dyn Tables,
        caller: &Caller,
        bounds: Bounds,
    ) -> Result<Planned, SqlError> {
        let bounds = Bounds {
            time_max: bounds.time_max.min(self.limits.time_max),
            rows_max: bounds.rows_max.min(self.limits.rows_max),
        };
        let deadline = Instant::now() + bounds.time_max;
        let held = Held { _place: self.place().await?, share: self.memory.share() };
        let work = async {
            let pinned = tables.pin().await?;
            let columns = |name: &str| pinned.columns(name);
            let statement = statement::read(sql, &self.limits, &columns)?;
            let context = self.template.session(&pinned, caller, &held.share)?;
            let plan = context.state().statement_to_plan(statement.inner).await?;
            Ok::<_, SqlError>((context, plan, statement.copy, pinned.notes().to_vec()))
        };
        let (context, plan, copy, notes) = within(deadline, bounds, &held.share, work).await?;
        session::check_plan(&plan)?;
        let schema = Arc::clone(plan.schema().inner());
        let parameters = session::parameters(&plan)?;
        Ok(Planned { context, plan, schema, parameters, copy, notes, deadline, bounds, held })
    }

    /// A place among the statements at work. A dashboard asks a dozen things at once, so there is a short wait.
    async fn place(&self) -> Result<OwnedSemaphorePermit, SqlError> {
        let waiting = tokio::time::timeout(PLACE_WITHIN, Arc::clone(&self.places).acquire_owned());
        waiting.await.ok().and_then(Result::ok).ok_or_else(|| {
            let message =
                format!("{} statements are at work, which is all there may be: try again", self.limits.statements_max);
            SqlError::new(ErrorKind::Busy, message)
        })
    }

    /// Plans and runs a statement without parameters.
    ///
    /// # Errors
    /// As [`Self::plan`], or when it fails before its first row.
    pub async fn run(&self, sql: &str, tables: &dyn Tables, caller: &Caller) -> Result<Answer, SqlError> {
        let planned = self.plan(sql, tables, caller, self.bounds()).await?;
        self.execute(planned, None).await
    }

    /// Begins a planned statement.
    ///
    /// # Errors
    /// When parameters are missing or do not fit, or it fails before its first row.
    pub async fn execute(&self, planned: Planned, parameters: Option<ParamValues>) -> Result<Answer, SqlError> {
        let Planned { context, plan, copy, notes, deadline, bounds, held, .. } = planned;
        let plan = match parameters {
            Some(values) => plan.with_param_values(values)?,
            None => plan,
        };
        let work = async {
            let state = context.state();
            let physical = state.create_physical_plan(&plan).await?;
            let stream = datafusion::physical_plan::execute_stream(physical, context.task_ctx())?;
            Ok::<_, SqlError>(stream)
        };
        let stream = within(deadline, bounds, &held.share, work).await?;
        Ok(Answer::new(stream, copy, notes, deadline, bounds, held))
    }
}

/// Waits for `work` until the deadline, or until memory is short.
async fn within<T>(
    deadline: Instant,
    bounds: Bounds,
    share: &Share,
    work: impl Future<Output = Result<T, SqlError>>,
) -> Result<T, SqlError> {
    let work = share.ended().run_until_cancelled(AssertUnwindSafe(work).catch_unwind());
    match tokio::time::timeout_at(deadline, work).await {
        Ok(Some(Ok(result))) => result,
        Ok(Some(Err(_))) => Err(answer::panicked().into()),
        Ok(None) => Err(share.error()),
        Err(_) => Err(answer::too_slow(bounds.time_max)),
    }
}
