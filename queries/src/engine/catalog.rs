//! The tables of one statement, as one caller may see them.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider, TableProvider};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::prelude::{col, lit};
use serde::{Deserialize, Serialize};

use crate::error::SqlError;

/// Tables of which a trader sees the rows of its own account alone.
const PRIVATE: [&str; 4] = ["executions", "orders", "ledger", "audit"];
/// The column that says whose a row is.
const ACCOUNT: &str = "account";

/// On whose behalf a statement runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Caller {
    /// Sees every row.
    Operator,
    /// Sees the rows of its own account in `executions`, `orders`, `ledger` and `audit`.
    Trader {
        /// The account.
        account: u32,
    },
}

/// Where the tables come from.
#[async_trait]
pub trait Tables: Send + Sync {
    /// Every table as it is now, all of them at one moment.
    ///
    /// # Errors
    /// When the lake cannot be read.
    async fn pin(&self) -> Result<Pinned, SqlError>;
}

/// Tables as they were at one moment: nothing that lands or happens later changes them.
#[derive(Debug, Clone, Default)]
pub struct Pinned {
    tables: BTreeMap<String, Arc<dyn TableProvider>>,
    notes: Vec<String>,
}

impl Pinned {
    /// No tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a table.
    pub fn add(&mut self, name: &str, table: Arc<dyn TableProvider>) {
        self.tables.insert(name.to_owned(), table);
    }

    /// Adds a sentence about how far the tables reach.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// The sentences.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The names of a table's columns.
    pub(crate) fn columns(&self, table: &str) -> Option<Vec<String>> {
        let name = table.rsplit('.').next().unwrap_or(table);
        let schema = self.tables.get(name)?.schema();
        Some(schema.fields().iter().map(|field| field.name().clone()).collect())
    }

    /// The tables as a schema, with what the caller may not see left out.
    pub(super) fn schema_for(&self, caller: &Caller) -> Result<Arc<dyn SchemaProvider>, SqlError> {
        let schema = MemorySchemaProvider::new();
        for (name, table) in &self.tables {
            let seen = match caller {
                Caller::Trader { account } if PRIVATE.contains(&name.as_str()) => own_rows(name, table, *account)?,
                _ => Arc::clone(table),
            };
            schema.register_table(name.clone(), seen)?;
        }
        Ok(Arc::new(schema))
    }
}

/// A view of the rows of one account. The table behind it has no name that a statement could use.
fn own_rows(name: &str, table: &Arc<dyn TableProvider>, account: u32) -> Result<Arc<dyn TableProvider>, SqlError> {
    let own = col(ACCOUNT).eq(lit(i64::from(account)));
    let plan = LogicalPlanBuilder::scan(name, provider_as_source(Arc::clone(table)), None)?.filter(own)?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}
