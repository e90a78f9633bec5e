//! `first_value` and `last_value` of each group, where rows come in the order that they are asked for in: no value is
//! compared.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array, new_null_array};
use arrow::compute::{SortOptions, interleave, take};
use arrow::datatypes::DataType;
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};

use super::numbering::unattached;
use crate::functions::{counts, runs};

/// Pieces that rows of groups lie in before they are put into one.
const PIECES_MAX: usize = 64;

/// Which end of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    First,
    Last,
}

impl End {
    /// The end that an aggregate asks for, where the order that it names is the input's. What rows are grouped by orders
    /// nothing within a group.
    pub(super) fn of(
        aggregate: &AggregateFunctionExpr,
        keys: &[Arc<dyn PhysicalExpr>],
        input: &EquivalenceProperties,
    ) -> Result<Option<Self>> {
        let end = match aggregate.fun().name() {
            "first_value" => Self::First,
            "last_value" => Self::Last,
            _ => return Ok(None),
        };
        let order: &[PhysicalSortExpr] = aggregate.order_bys();
        let plain = !aggregate.is_distinct() && !aggregate.ignore_nulls() && !order.is_empty();
        let by_key = keys.iter().map(|key| PhysicalSortExpr::new(Arc::clone(key), SortOptions::new(false, false)));
        let within = order.iter().filter(|one| !keys.contains(&one.expr)).cloned();
        Ok((plain && input.ordering_satisfy(by_key.chain(within))?).then_some(end))
    }
}

/// A row of each group: the value and what it was ordered by.
#[derive(Debug)]
pub(super) struct Ends {
    end: End,
    types: Vec<DataType>,
    /// Rows of groups, column by column, in the pieces in which they came. Before the first stands a row of nulls.
    pieces: Vec<Vec<ArrayRef>>,
    /// By group, piece and row. (0, 0) while it has none.
    places: Vec<(usize, usize)>,
    bytes: usize,
}

impl Ends {
    /// For values and orders of these types.
    pub(super) fn new(end: End, types: Vec<DataType>) -> Self {
        let mut ends = Self { end, types, pieces: Vec::new(), places: Vec::new(), bytes: 0 };
        ends.forget();
        ends
    }

    fn forget(&mut self) {
        self.pieces = vec![self.types.iter().map(|kind| new_null_array(kind, 1)).collect()];
        self.bytes = 0;
    }

    /// The rows at some places.
    fn columns(&self, places: &[(usize, usize)]) -> Result<Vec<ArrayRef>> {
        let column = |column: usize| {
            let pieces: Vec<&dyn Array> = self.pieces.iter().map(|piece| &*piece[column]).collect();
            Ok(interleave(&pieces, places)?)
        };
        (0..self.types.len()).map(column).collect()
    }

    /// Puts the rows of all groups into one piece.
    fn gather(&mut self) -> Result<()> {
        let columns = self.columns(&self.places)?;
        self.forget();
        for (row, place) in self.places.iter_mut().enumerate().filter(|(_, place)| **place != (0, 0)) {
            *place = (1, row);
        }
        self.hold(columns);
        Ok(())
    }

    fn hold(&mut self, piece: Vec<ArrayRef>) {
        self.bytes += piece.iter().map(|column| column.get_buffer_memory_size()).sum::<usize>();
        self.pieces.push(piece);
    }

    /// The columns of the groups that are emitted, and which of them have a row.
    fn take(&mut self, emit: EmitTo) -> Result<(Vec<ArrayRef>, BooleanArray)> {
        let places = emit.take_needed(&mut self.places);
        let columns = self.columns(&places)?;
        let set = places.iter().map(|place| Some(*place != (0, 0))).collect();
        if self.places.is_empty() {
            self.forget()
        } else {
            self.gather()?
        }
        Ok((columns, set))
    }
}

impl GroupsAccumulator for Ends {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.places.resize(total, (0, 0));
        let piece = self.pieces.len();
        let mut rows: Vec<u32> = Vec::new();
        for (run, group) in runs(groups) {
            if self.end == End::First && self.places[group] != (0, 0) {
                continue;
            }
            let row = match self.end {
                End::First => run.into_iter().find(|row| counts(filter, *row)),
                End::Last => run.into_iter().rev().find(|row| counts(filter, *row)),
            };
            if let Some(row) = row {
                self.places[group] = (piece, rows.len());
                rows.push(row as u32);
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let rows = UInt32Array::from(rows);
        let taken = values.iter().map(|column| Ok(unattached(take(column, &rows, None)?))).collect::<Result<_>>()?;
        self.hold(taken);
        if self.pieces.len() > PIECES_MAX { self.gather() } else { Ok(()) }
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let (mut columns, _) = self.take(emit)?;
        Ok(columns.swap_remove(0))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let (mut columns, set) = self.take(emit)?;
        columns.push(Arc::new(set));
        Ok(columns)
    }

    fn merge_batch(&mut self, _values: &[ArrayRef], _groups: &[usize], _total: usize) -> Result<()> {
        internal_err!("states of runs are merged by DataFusion's own accumulators")
    }

    fn convert_to_state(&self, _values: &[ArrayRef], _filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        internal_err!("runs are aggregated whatever their number")
    }

    fn size(&self) -> usize {
        self.bytes + self.places.capacity() * size_of::<(usize, usize)>()
    }
}
