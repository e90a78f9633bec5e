//! Makes each `ASOF JOIN` a relation of its own, so that our relation planner sees it.
//!
//! The planner of DataFusion 55 knows no ASOF JOIN, but it asks a relation planner about every table factor. So
//! `a JOIN b … ASOF JOIN c … JOIN d` becomes `((a JOIN b …) ASOF JOIN c …) JOIN d`: the same tree, with the ASOF
//! join the last one of a nested join. Names of columns keep their qualifiers there.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Join, JoinOperator, Query, SetExpr, TableFactor, TableWithJoins, VisitorMut};

use crate::error::SqlError;

/// Folds every FROM clause of a query.
pub(super) struct Fold;

impl VisitorMut for Fold {
    type Break = SqlError;

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        body(&mut query.body);
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
            fold(table_with_joins);
        }
        ControlFlow::Continue(())
    }
}

fn body(set: &mut SetExpr) {
    match set {
        SetExpr::Select(select) => select.from.iter_mut().for_each(fold),
        SetExpr::SetOperation { left, right, .. } => {
            body(left);
            body(right);
        }
        _ => {}
    }
}

/// Whether a join is an ASOF join.
pub(crate) fn is_asof(join: &Join) -> bool {
    matches!(join.join_operator, JoinOperator::AsOf { .. })
}

/// Puts everything up to an ASOF join into parentheses, from the left.
fn fold(from: &mut TableWithJoins) {
    while let Some(at) = from.joins.iter().position(is_asof) {
        let rest = from.joins.split_off(at + 1);
        // The ASOF join stands last in its own parentheses already: nothing to do but what follows it.
        let joins = std::mem::take(&mut from.joins);
        let relation = std::mem::replace(&mut from.relation, placeholder());
        let inner = TableWithJoins { relation, joins };
        from.relation = TableFactor::NestedJoin { table_with_joins: Box::new(inner), alias: None };
        from.joins = rest;
    }
}

fn placeholder() -> TableFactor {
    let nothing = TableWithJoins {
        relation: TableFactor::UNNEST {
            alias: None,
            array_exprs: Vec::new(),
            with_offset: false,
            with_offset_alias: None,
            with_ordinality: false,
        },
        joins: Vec::new(),
    };
    TableFactor::NestedJoin { table_with_joins: Box::new(nothing), alias: None }
}
