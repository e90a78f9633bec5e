//! The table itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;

use super::deal::cut;
use super::files::{self, File};
use super::order::chains;
use super::revisions::Revisions;
use super::tail::Tail;

/// Sorted chains that are merged at most; with more, files are read without their order.
const CHAINS_MAX: usize = 16;

/// What a table is made of.
#[derive(Debug, Clone)]
pub struct Source {
    /// The columns, the date last; texts as views.
    pub schema: SchemaRef,
    /// The columns by which compacted files are sorted.
    pub sort_columns: Vec<String>,
    /// Where the files are.
    pub store: ObjectStoreUrl,
    /// The snapshot's files.
    pub files: Vec<Arc<File>>,
    /// Offset per partition at which the tail takes over.
    pub next: BTreeMap<u32, u64>,
    /// The rows from there on.
    pub tail: Tail,
    /// Set where later rows replace earlier ones.
    pub revisions: Option<Revisions>,
}

/// A table pinned to a snapshot and a tail.
#[derive(Debug)]
pub struct MarketTable {
    source: Source,
    /// Tail rows from the snapshot's next offset on.
    tail: Vec<RecordBatch>,
}

/// The columns of a table as SQL sees them: texts as views, which are quicker to compare and group.
pub fn sql_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 => Arc::new(Field::clone(field).with_data_type(DataType::Utf8View)),
        _ => Arc::clone(field),
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

impl MarketTable {
    /// Pins the table.
    ///
    /// # Errors
    /// When the tail's columns are not the table's.
    pub fn new(source: Source) -> Result<Self> {
        let tail = source.tail.from(&source.next)?;
        Ok(Self { source, tail })
    }

    /// Rows that have landed.
    pub fn landed_rows(&self) -> u64 {
        self.source.files.iter().map(|file| file.rows).sum()
    }

    /// Rows of the tail.
    pub fn tail_rows(&self) -> u64 {
        self.tail.iter().map(|batch| batch.num_rows() as u64).sum()
    }

    fn sort_indices(&self) -> Vec<usize> {
        let columns = self.source.sort_columns.iter();
        columns.map_while(|name| self.source.schema.index_of(name).ok()).collect()
    }

    fn ordering(&self) -> Option<LexOrdering> {
        let options = SortOptions { descending: false, nulls_first: false };
        let exprs = self.sort_indices().into_iter().map(|index| {
            let name = self.source.schema.field(index).name();
            PhysicalSortExpr::new(Arc::new(Column::new(name, index)), options)
        });
        LexOrdering::new(exprs)
    }

    /// Files as DataFusion takes them.
    fn partitioned(&self, files: &[Arc<File>]) -> Vec<PartitionedFile> {
        let partitioned = |file: &Arc<File>| {
            let mut partitioned = PartitionedFile::new(file.path.clone(), file.bytes);
            partitioned.partition_values = vec![ScalarValue::Date32(Some(file.date))];
            partitioned.with_statistics(Arc::new(file.own_statistics(&self.source.schema)))
        };
        files.iter().map(partitioned).collect()
    }

    /// Reads groups of files, in their order where it is given.
    fn scan_files(
        &self,
        groups: Vec<FileGroup>,
        ordering: Option<LexOrdering>,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = &self.source.schema;
        let last = schema.fields().len() - 1;
        let in_files = Arc::new(schema.project(&(0..last).collect::<Vec<_>>())?);
        let date = vec![Arc::clone(&schema.fields()[last])];
        let table = TableSchema::builder(in_files).with_table_partition_cols(date).build();
        let source = Arc::new(ParquetSource::new(table));
        let mut config = FileScanConfigBuilder::new(self.source.store.clone(), source)
            .with_file_groups(groups)
            .with_limit(limit)
            .with_projection_indices(projection.cloned())?;
        if let Some(ordering) = ordering {
            config = config.with_output_ordering(vec![ordering]);
        }
        Ok(DataSourceExec::from_data_source(config.build()))
    }
}

#[async_trait]
impl TableProvider for MarketTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.source.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Files are left out by their statistics; what is read is filtered again.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files = files::prune(&self.source.files, &self.source.schema, filters)?;
        let partitions = state.config().target_partitions();
        let (sorted, mut landed): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| file.sorted);
        let mut parts = Vec::new();
        if !sorted.is_empty() {
            match chains(&sorted, &self.sort_indices(), CHAINS_MAX.max(partitions)) {
                Some(chains) => {
                    let groups = chains.iter().map(|chain| FileGroup::new(self.partitioned(chain))).collect();
                    parts.push(self.scan_files(groups, self.ordering(), projection, limit)?);
                }
                None => landed.extend(sorted),
            }
        }
        if !landed.is_empty() {
            landed.sort_by(|a, b| a.path.cmp(&b.path));
            parts.push(self.scan_files(cut(&self.partitioned(&landed), partitions), None, projection, limit)?);
        }
        if !self.tail.is_empty() || parts.is_empty() {
            let rows = match &self.source.revisions {
                Some(revisions) => revisions.newest(&self.tail)?,
                None => self.tail.clone(),
            };
            let tail = MemorySourceConfig::try_new_exec(&[rows], Arc::clone(&self.source.schema), projection.cloned())?;
            parts.push(tail);
        }
        match parts.len() {
            1 => Ok(parts.swap_remove(0)),
            _ => UnionExec::try_new(parts),
        }
    }
}
