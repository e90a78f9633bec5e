//! From SQL to the node, and from the node to the operator.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::Session;
use datafusion::common::{Column, DFSchema, DFSchemaRef, JoinType, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{BinaryExpr, Cast};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{
    Expr, ExprSchemable, Extension, LogicalPlan, LogicalPlanBuilder, Operator, UserDefinedLogicalNode,
    build_join_schema,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Join, JoinConstraint, JoinOperator, TableFactor, TableWithJoins,
};

use super::{AsofExec, AsofNode, Nearest};

/// Plans a nested join whose last join is an ASOF join; the statement is rewritten so that each one is.
#[derive(Debug)]
pub struct AsofRelationPlanner;

impl RelationPlanner for AsofRelationPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        match relation {
            TableFactor::NestedJoin { mut table_with_joins, alias } => {
                let asof =
                    table_with_joins.joins.pop_if(|join| matches!(join.join_operator, JoinOperator::AsOf { .. }));
                match asof {
                    Some(join) => {
                        let plan = plan(*table_with_joins, join, context)?;
                        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
                    }
                    None => {
                        Ok(RelationPlanning::Original(Box::new(TableFactor::NestedJoin { table_with_joins, alias })))
                    }
                }
            }
            other => Ok(RelationPlanning::Original(Box::new(other))),
        }
    }
}

fn plan(left: TableWithJoins, join: Join, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    let JoinOperator::AsOf { match_condition, constraint } = join.join_operator else {
        return plan_err!("an ASOF JOIN is needed here");
    };
    let left = if left.joins.is_empty() {
        context.plan(left.relation)?
    } else {
        context.plan(TableFactor::NestedJoin { table_with_joins: Box::new(left), alias: None })?
    };
    let right = context.plan(join.relation)?;
    let both = build_join_schema(left.schema(), right.schema(), &JoinType::Left)?;
    let sides = Sides { left: left.schema(), right: right.schema() };
    let (left_time, operator, right_time) = sides.split(context.sql_to_expr(match_condition, &both)?)?;
    let nearest = match operator {
        Operator::GtEq => Nearest::AtOrBefore,
        Operator::Gt => Nearest::Before,
        Operator::LtEq => Nearest::AtOrAfter,
        Operator::Lt => Nearest::After,
        other => return plan_err!("MATCH_CONDITION takes >=, >, <= or <, not {other}"),
    };
    let times = sides.coerce(left_time, right_time, "MATCH_CONDITION")?;
    if !is_time(&times.0.get_type(sides.left)?) {
        return plan_err!(
            "MATCH_CONDITION compares times, dates or whole numbers, not {}",
            times.0.get_type(sides.left)?
        );
    }
    let (on, using) = keys(constraint, &sides, &both, context)?;
    let node = AsofNode::new(left.clone(), right.clone(), on, times, nearest)?;
    let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
    without(plan, &using)
}

/// Leaves out the right's columns of a USING, which equal the left's.
fn without(plan: LogicalPlan, columns: &[Column]) -> Result<LogicalPlan> {
    if columns.is_empty() {
        return Ok(plan);
    }
    let kept: Vec<Expr> =
        plan.schema().columns().into_iter().filter(|column| !columns.contains(column)).map(Expr::Column).collect();
    LogicalPlanBuilder::from(plan).project(kept)?.build()
}

fn is_time(data_type: &DataType) -> bool {
    data_type.is_integer() || matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
}

/// The schemas of both sides.
struct Sides<'a> {
    left: &'a DFSchemaRef,
    right: &'a DFSchemaRef,
}

impl Sides<'_> {
    /// A comparison with the left's expression on the left.
    fn split(&self, condition: Expr) -> Result<(Expr, Operator, Expr)> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else {
            return plan_err!("an ASOF JOIN's conditions compare one column of each side, not {condition}");
        };
        if of(&left, self.left) && of(&right, self.right) {
            return Ok((*left, op, *right));
        }
        match op.swap() {
            Some(swapped) if of(&right, self.left) && of(&left, self.right) => Ok((*right, swapped, *left)),
            _ => plan_err!(
                "an ASOF JOIN's conditions compare the left table with the right one, not {left} {op} {right}"
            ),
        }
    }

    /// Casts both sides to the type in which they are compared.
    fn coerce(&self, left: Expr, right: Expr, what: &str) -> Result<(Expr, Expr)> {
        let (left_type, right_type) = (left.get_type(self.left)?, right.get_type(self.right)?);
        let Some(common) = comparison_coercion(&left_type, &right_type) else {
            return plan_err!("{what} cannot compare {left} ({left_type}) with {right} ({right_type})");
        };
        let to = |expr: Expr, from: &DataType| {
            if *from == common { expr } else { Expr::Cast(Cast::new(Box::new(expr), common.clone())) }
        };
        Ok((to(left, &left_type), to(right, &right_type)))
    }
}

/// Whether an expression uses columns, all of them of one side.
fn of(expr: &Expr, schema: &DFSchema) -> bool {
    let columns = expr.column_refs();
    !columns.is_empty() && columns.iter().all(|column| schema.has_column(column))
}

type Keys = (Vec<(Expr, Expr)>, Vec<Column>);

/// The equal keys, and the right's columns that a USING makes superfluous.
fn keys(
    constraint: JoinConstraint,
    sides: &Sides<'_>,
    both: &DFSchema,
    context: &mut dyn RelationPlannerContext,
) -> Result<Keys> {
    match constraint {
        JoinConstraint::None => Ok((Vec::new(), Vec::new())),
        JoinConstraint::On(condition) => {
            let mut on = Vec::new();
            for part in conjunction(condition) {
                let (left, operator, right) = sides.split(context.sql_to_expr(part, both)?)?;
                if operator != Operator::Eq {
                    return plan_err!("an ASOF JOIN's ON takes equalities joined by AND, not {operator}");
                }
                on.push(sides.coerce(left, right, "ON")?);
            }
            Ok((on, Vec::new()))
        }
        JoinConstraint::Using(names) => {
            let (mut on, mut superfluous) = (Vec::new(), Vec::new());
            for name in names {
                let name = name.to_string().replace('"', "");
                let column = |schema: &DFSchema| schema.qualified_field_with_unqualified_name(&name).map(Column::from);
                let (left, right) = (column(sides.left)?, column(sides.right)?);
                superfluous.push(right.clone());
                on.push(sides.coerce(Expr::Column(left), Expr::Column(right), "USING")?);
            }
            Ok((on, superfluous))
        }
        JoinConstraint::Natural => plan_err!("an ASOF JOIN is not NATURAL: say ON or USING"),
    }
}

fn conjunction(condition: SqlExpr) -> Vec<SqlExpr> {
    use datafusion::sql::sqlparser::ast::BinaryOperator;
    match condition {
        SqlExpr::BinaryOp { left, op: BinaryOperator::And, right } => {
            let mut parts = conjunction(*left);
            parts.extend(conjunction(*right));
            parts
        }
        SqlExpr::Nested(inner) => conjunction(*inner),
        other => vec![other],
    }
}

/// Turns the node into the operator.
#[derive(Debug)]
pub struct AsofExtensionPlanner;

#[async_trait]
impl ExtensionPlanner for AsofExtensionPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<AsofNode>() else { return Ok(None) };
        let ([left, right], [left_plan, right_plan]) = (logical_inputs, physical_inputs) else {
            return plan_err!("an ASOF join has two inputs");
        };
        let on_left = |expr: &Expr| planner.create_physical_expr(expr, left.schema(), session, context);
        let on_right = |expr: &Expr| planner.create_physical_expr(expr, right.schema(), session, context);
        let on =
            node.on.iter().map(|(left, right)| Ok((on_left(left)?, on_right(right)?))).collect::<Result<Vec<_>>>()?;
        let times = (on_left(&node.times.0)?, on_right(&node.times.1)?);
        let exec = AsofExec::new(Arc::clone(left_plan), Arc::clone(right_plan), on, times, node.nearest)?;
        Ok(Some(Arc::new(exec)))
    }
}
