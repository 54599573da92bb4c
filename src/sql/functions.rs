//! Functions that statements may use: those of DataFusion but a few, whose result can be so much larger than what they are
//! given that the budget would notice too late, or that tell about the process.

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawDictionaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use std::sync::Arc;

/// Left out.
const REMOVED: [&str; 14] = [
    "array_repeat",
    "list_repeat",
    "array_resize",
    "list_resize",
    "repeat",
    "lpad",
    "rpad",
    "range",
    "generate_series",
    "gen_series",
    "space",
    "input_file_name",
    "file_row_index",
    "version",
];

/// Checked before each call, by how their result grows.
const BOUNDED: [(&str, Growth); 12] = [
    ("concat", Growth::Sum),
    ("concat_ws", Growth::Separated),
    ("replace", Growth::Replacement),
    ("regexp_replace", Growth::Replacement),
    ("make_array", Growth::Sum),
    ("array_concat", Growth::Sum),
    ("array_append", Growth::Sum),
    ("array_prepend", Growth::Sum),
    ("struct", Growth::Sum),
    ("named_struct", Growth::Sum),
    ("map", Growth::Sum),
    ("arrays_zip", Growth::Sum),
];

/// Types inside of types that one value may have: each use of a value in a structure repeats them.
const TYPES_MAX: usize = 1_000;

/// What one call may return for one batch.
const RESULT_BYTES_MAX: usize = 128 << 20;

/// All functions.
pub(super) fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let all = SessionStateDefaults::default_scalar_functions().into_iter();
    let kept = all.filter(|function| !REMOVED.contains(&function.name()));
    kept.map(bounded).collect()
}

fn bounded(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    match BOUNDED.iter().find(|(name, _)| *name == function.name()) {
        Some((_, growth)) => Arc::new(ScalarUDF::new_from_impl(Bounded { function, growth: *growth })),
        None => function,
    }
}

/// Plans literals of lists, structures and maps, and lists put together, as calls of these functions; DataFusion takes its own.
#[derive(Debug)]
pub(super) struct Literals {
    functions: Vec<Arc<ScalarUDF>>,
}

impl Literals {
    pub(super) fn over(functions: &[Arc<ScalarUDF>]) -> Self {
        Self { functions: functions.to_vec() }
    }

    fn call(&self, name: &str, args: Vec<Expr>) -> Result<Expr> {
        let function = self.functions.iter().find(|function| function.name() == name);
        let function = function.ok_or_else(|| DataFusionError::Plan(format!("there is no function {name}")))?;
        Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), args)))
    }
}

impl ExprPlanner for Literals {
    fn plan_array_literal(&self, items: Vec<Expr>, _schema: &DFSchema) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(self.call("make_array", items)?))
    }

    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        if expr.op != BinaryOperator::StringConcat {
            return Ok(PlannerResult::Original(expr));
        }
        let name = match (is_list(&expr.left, schema)?, is_list(&expr.right, schema)?) {
            (true, true) => "array_concat",
            (true, false) => "array_append",
            (false, true) => "array_prepend",
            (false, false) => return Ok(PlannerResult::Original(expr)),
        };
        Ok(PlannerResult::Planned(self.call(name, vec![expr.left, expr.right])?))
    }

    fn plan_struct_literal(&self, args: Vec<Expr>, is_named_struct: bool) -> Result<PlannerResult<Vec<Expr>>> {
        let name = if is_named_struct { "named_struct" } else { "struct" };
        Ok(PlannerResult::Planned(self.call(name, args)?))
    }

    fn plan_dictionary_literal(
        &self,
        expr: RawDictionaryExpr,
        _schema: &DFSchema,
    ) -> Result<PlannerResult<RawDictionaryExpr>> {
        let args = expr.keys.into_iter().zip(expr.values).flat_map(|(key, value)| [key, value]);
        Ok(PlannerResult::Planned(self.call("named_struct", args.collect())?))
    }

    fn plan_make_map(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        if !args.len().is_multiple_of(2) {
            return Err(DataFusionError::Plan("a map needs a value for each key".into()));
        }
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (i, arg) in args.into_iter().enumerate() {
            if i % 2 == 0 { keys.push(arg) } else { values.push(arg) }
        }
        let [keys, values] = [self.call("make_array", keys)?, self.call("make_array", values)?];
        Ok(PlannerResult::Planned(self.call("map", vec![keys, values])?))
    }
}

fn is_list(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    let kind = expr.get_type(schema)?;
    Ok(matches!(kind, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _)))
}

/// How large a result may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Growth {
    /// As large as all arguments together.
    Sum,
    /// The first argument once for each of the others on top.
    Separated,
    /// The third argument for each character of the first.
    Replacement,
}

/// A function that refuses to make a huge result.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    function: Arc<ScalarUDF>,
    growth: Growth,
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        types_bounded(arguments.iter())?;
        self.function.return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        types_bounded(arguments.arg_fields.iter().map(|field| field.data_type()))?;
        self.function.return_field_from_args(arguments)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.function.inner().coerce_types(arguments)
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = call.number_rows.max(1);
        let total: usize = call.args.iter().map(|argument| bytes(argument, rows)).sum();
        let width = |index: usize| call.args.get(index).map_or(0, width);
        let expected = match self.growth {
            Growth::Sum => total,
            Growth::Separated => total.saturating_add(width(0).saturating_mul(rows).saturating_mul(call.args.len())),
            Growth::Replacement => total.saturating_mul(width(2).max(1)),
        };
        if expected > RESULT_BYTES_MAX {
            let message = format!("the result of {} could be larger than {RESULT_BYTES_MAX} bytes", self.name());
            return Err(DataFusionError::Execution(message));
        }
        self.function.invoke_with_args(call)
    }
}

/// Refuses arguments whose types are made of very many.
fn types_bounded<'a>(arguments: impl Iterator<Item = &'a DataType>) -> Result<()> {
    let mut pending: Vec<&DataType> = arguments.filter(|kind| kind.is_nested()).collect();
    let mut found = 0;
    while let Some(kind) = pending.pop() {
        found += 1;
        if found > TYPES_MAX {
            return Err(DataFusionError::Plan(format!("a value would be made of more than {TYPES_MAX} parts")));
        }
        match kind {
            DataType::Struct(fields) => pending.extend(fields.iter().map(|field| field.data_type())),
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::FixedSizeList(item, _)
            | DataType::ListView(item)
            | DataType::LargeListView(item)
            | DataType::Map(item, _) => pending.push(item.data_type()),
            DataType::Dictionary(_, values) => pending.push(values),
            DataType::Union(fields, _) => pending.extend(fields.iter().map(|(_, field)| field.data_type())),
            DataType::RunEndEncoded(_, values) => pending.push(values.data_type()),
            _ => {}
        }
    }
    Ok(())
}

fn bytes(argument: &ColumnarValue, rows: usize) -> usize {
    match argument {
        // What the slice shows, not the buffer behind it.
        ColumnarValue::Array(array) => array.to_data().get_slice_memory_size().unwrap_or(usize::MAX),
        ColumnarValue::Scalar(value) => value.size().saturating_mul(rows),
    }
}

/// Length of the longest text.
fn width(argument: &ColumnarValue) -> usize {
    match argument {
        ColumnarValue::Scalar(ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text)) => {
            text.as_ref().map_or(0, String::len)
        }
        ColumnarValue::Scalar(value) => value.size(),
        ColumnarValue::Array(array) => match array.data_type() {
            DataType::Utf8 => array.as_string::<i32>().iter().flatten().map(str::len).max().unwrap_or(0),
            DataType::Utf8View => array.as_string_view().iter().flatten().map(str::len).max().unwrap_or(0),
            _ => array.get_array_memory_size(),
        },
    }
}
