//! Sessions of DataFusion, set up for statements from outside.

use std::sync::Arc;

use arrow::datatypes::DataType;
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemoryCatalogProviderList, Session};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as DfResult;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::{SessionConfig, SessionContext};

use super::catalog::{Caller, Pinned};
use super::memory::Share;
use crate::asof::{AsofExtensionPlanner, AsofRelationPlanner, PushFilterIntoAsof};
use crate::error::SqlError;
use crate::functions;
use crate::limits::Limits;
use crate::runs::UseRuns;
use crate::table::ReadInPieces;

/// Name of the catalog; the schema is `public`, as Postgres has it.
const CATALOG: &str = "millrace";
const SCHEMA: &str = "public";
/// Consumers of memory that an error names.
const CONSUMERS_NAMED: usize = 3;

/// Memory, disk and caches that all statements share.
pub(super) fn runtime(limits: &Limits) -> Result<Arc<RuntimeEnv>, SqlError> {
    let pool = FairSpillPool::new(limits.memory_bytes_max);
    let pool = TrackConsumersPool::new(pool, std::num::NonZeroUsize::new(CONSUMERS_NAMED).expect("not zero"));
    let disk = DiskManagerBuilder::default().with_max_temp_directory_size(limits.spill_bytes_max);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(disk)
        .with_metadata_cache_limit(limits.metadata_cache_bytes_max);
    Ok(runtime.build_arc()?)
}

fn config(limits: &Limits) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(limits.parallelism)
        .with_batch_size(limits.batch_rows)
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, SCHEMA);
    let options = config.options_mut();
    // `price > 100.5` compares decimals; as a float it would be rounded.
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.collect_spans = true;
    // One symbol of a wide table: the other columns are read for its rows only.
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    // Cut in two, files that are wanted in order would be merged again; where they are not, `ReadInPieces` cuts them.
    options.optimizer.repartition_file_scans = false;
    // Files sorted by (symbol, ts) stay sorted through joins and windows.
    options.optimizer.prefer_existing_sort = true;
    options.execution.time_zone = Some("+00:00".to_owned());
    config
}

/// What every session begins with: functions, planners, limits.
#[derive(Debug)]
pub(super) struct Template {
    state: SessionState,
}

impl Template {
    pub(super) fn new(limits: &Limits, runtime: &Arc<RuntimeEnv>) -> Self {
        let mut state = SessionStateBuilder::new()
            .with_config(config(limits))
            .with_runtime_env(Arc::clone(runtime))
            .with_default_features()
            .with_query_planner(Arc::new(Planner))
            .with_relation_planners(vec![Arc::new(AsofRelationPlanner)])
            .with_optimizer_rules(optimizer_rules())
            .with_physical_optimizer_rule(Arc::new(ReadInPieces))
            .with_physical_optimizer_rule(Arc::new(UseRuns))
            .build();
        for function in functions::bounded(|name| state.udf(name).ok()) {
            state.register_udf(function).expect("functions can be registered");
        }
        for function in functions::aggregates() {
            state.register_udaf(function).expect("aggregates can be registered");
        }
        for function in functions::windows() {
            state.register_udwf(function).expect("window functions can be registered");
        }
        for planner in functions::planners() {
            state.register_expr_planner(planner).expect("planners can be registered");
        }
        Self { state }
    }

    /// A session over pinned tables for one statement of one caller, with its share of the memory.
    pub(super) fn session(
        &self,
        pinned: &Pinned,
        caller: &Caller,
        share: &Arc<Share>,
    ) -> Result<SessionContext, SqlError> {
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(SCHEMA, pinned.schema_for(caller)?)?;
        let catalogs = MemoryCatalogProviderList::new();
        datafusion::catalog::CatalogProviderList::register_catalog(&catalogs, CATALOG.to_owned(), Arc::new(catalog));
        let runtime = RuntimeEnvBuilder::from_runtime_env(self.state.runtime_env())
            .with_memory_pool(Arc::clone(share) as Arc<dyn MemoryPool>)
            .build_arc()?;
        let state = SessionStateBuilder::new_from_existing(self.state.clone())
            .with_runtime_env(runtime)
            .with_catalog_list(Arc::new(catalogs))
            .build();
        Ok(SessionContext::new_with_state(state))
    }
}

/// DataFusion's rules with ours. A filter has to be seen where it was just pushed to, right above the join: later rules put a
/// projection between them.
fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    let after = rules.iter().position(|rule| rule.name() == "push_down_filter").map_or(rules.len(), |at| at + 1);
    rules.insert(after, Arc::new(PushFilterIntoAsof));
    rules
}

/// DataFusion's planner, and ours for the ASOF join.
#[derive(Debug)]
struct Planner;

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(AsofExtensionPlanner)]);
        planner.create_physical_plan(plan, session).await
    }
}

/// A second look, at the plan: nothing in it writes, whatever the text looked like.
pub(super) fn check_plan(plan: &LogicalPlan) -> Result<(), SqlError> {
    let mut writes = None;
    plan.apply_with_subqueries(|node| {
        if matches!(node, LogicalPlan::Dml(_) | LogicalPlan::Ddl(_) | LogicalPlan::Copy(_) | LogicalPlan::Statement(_))
        {
            writes = Some(node.display().to_string());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    match writes {
        Some(what) => Err(SqlError::refused(format!("{what} is not allowed: a statement may only read"))),
        None => Ok(()),
    }
}

/// The types of `$1`, `$2` and so on, by number.
pub(super) fn parameters(plan: &LogicalPlan) -> Result<Vec<Option<DataType>>, SqlError> {
    let known = plan.get_parameter_types()?;
    let number = |name: &str| name.trim_start_matches('$').parse::<usize>().ok().filter(|number| *number > 0);
    let count = known.keys().filter_map(|name| number(name)).max().unwrap_or(0);
    if count > 256 {
        return Err(SqlError::limit(format!("{count} parameters are not allowed: at most 256")));
    }
    let mut types = vec![None; count];
    for (name, data_type) in known {
        match number(&name) {
            Some(number) => types[number - 1] = data_type,
            None => return Err(SqlError::meaning(format!("parameter {name} is not a number: write $1, $2 and so on"))),
        }
    }
    Ok(types)
}
