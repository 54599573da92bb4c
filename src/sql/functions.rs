//! Functions that statements may use: those of DataFusion but a few, whose result can be so much larger than what they are
//! given that the budget would notice too late, or that tell about the process.

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
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
const BOUNDED: [(&str, Growth); 9] = [
    ("concat", Growth::Sum),
    ("concat_ws", Growth::Separated),
    ("replace", Growth::Replacement),
    ("regexp_replace", Growth::Replacement),
    ("make_array", Growth::Sum),
    ("array_concat", Growth::Sum),
    ("struct", Growth::Sum),
    ("named_struct", Growth::Sum),
    ("map", Growth::Sum),
];

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
        self.function.return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
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
