//! The functions of PromQL: their names, arguments and results. What they compute is in `eval/`.

use crate::ast::ValueType;

/// A function's signature.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name in PromQL.
    pub name: &'static str,
    /// Types of the arguments.
    pub args: &'static [ValueType],
    /// How many trailing arguments may be missing or repeated: 0 none; n > 0: the last n are optional; -1: the last may
    /// be repeated any number of times, zero included.
    pub variadic: i8,
    /// What it evaluates to.
    pub returns: ValueType,
    /// Refused unless experimental functions are enabled.
    pub experimental: bool,
}

use ValueType::{Matrix, Scalar, String, Vector};

const fn f(name: &'static str, args: &'static [ValueType], variadic: i8, returns: ValueType) -> Function {
    Function { name, args, variadic, returns, experimental: false }
}

const fn x(name: &'static str, args: &'static [ValueType], variadic: i8, returns: ValueType) -> Function {
    Function { name, args, variadic, returns, experimental: true }
}

/// Every function, sorted by name.
pub static FUNCTIONS: &[Function] = &[
    f("abs", &[Vector], 0, Vector),
    f("absent", &[Vector], 0, Vector),
    f("absent_over_time", &[Matrix], 0, Vector),
    f("acos", &[Vector], 0, Vector),
    f("acosh", &[Vector], 0, Vector),
    f("asin", &[Vector], 0, Vector),
    f("asinh", &[Vector], 0, Vector),
    f("atan", &[Vector], 0, Vector),
    f("atanh", &[Vector], 0, Vector),
    f("avg_over_time", &[Matrix], 0, Vector),
    f("ceil", &[Vector], 0, Vector),
    f("changes", &[Matrix], 0, Vector),
    f("clamp", &[Vector, Scalar, Scalar], 0, Vector),
    f("clamp_max", &[Vector, Scalar], 0, Vector),
    f("clamp_min", &[Vector, Scalar], 0, Vector),
    f("cos", &[Vector], 0, Vector),
    f("cosh", &[Vector], 0, Vector),
    f("count_over_time", &[Matrix], 0, Vector),
    f("day_of_month", &[Vector], 1, Vector),
    f("day_of_week", &[Vector], 1, Vector),
    f("day_of_year", &[Vector], 1, Vector),
    f("days_in_month", &[Vector], 1, Vector),
    f("deg", &[Vector], 0, Vector),
    f("delta", &[Matrix], 0, Vector),
    f("deriv", &[Matrix], 0, Vector),
    x("double_exponential_smoothing", &[Matrix, Scalar, Scalar], 0, Vector),
    x("end", &[], 0, Scalar),
    f("exp", &[Vector], 0, Vector),
    f("first_over_time", &[Matrix], 0, Vector),
    f("floor", &[Vector], 0, Vector),
    f("histogram_avg", &[Vector], 0, Vector),
    f("histogram_count", &[Vector], 0, Vector),
    f("histogram_fraction", &[Scalar, Scalar, Vector], 0, Vector),
    f("histogram_quantile", &[Scalar, Vector], 0, Vector),
    x("histogram_quantiles", &[Vector, String, Scalar, Scalar], 9, Vector),
    f("histogram_stddev", &[Vector], 0, Vector),
    f("histogram_stdvar", &[Vector], 0, Vector),
    f("histogram_sum", &[Vector], 0, Vector),
    f("hour", &[Vector], 1, Vector),
    f("idelta", &[Matrix], 0, Vector),
    f("increase", &[Matrix], 0, Vector),
    x("info", &[Vector, Vector], 1, Vector),
    f("irate", &[Matrix], 0, Vector),
    f("label_join", &[Vector, String, String, String], -1, Vector),
    f("label_replace", &[Vector, String, String, String, String], 0, Vector),
    f("last_over_time", &[Matrix], 0, Vector),
    f("ln", &[Vector], 0, Vector),
    f("log10", &[Vector], 0, Vector),
    f("log2", &[Vector], 0, Vector),
    x("mad_over_time", &[Matrix], 0, Vector),
    x("max_of", &[Scalar, Scalar], 0, Scalar),
    f("max_over_time", &[Matrix], 0, Vector),
    x("min_of", &[Scalar, Scalar], 0, Scalar),
    f("min_over_time", &[Matrix], 0, Vector),
    f("minute", &[Vector], 1, Vector),
    f("month", &[Vector], 1, Vector),
    f("pi", &[], 0, Scalar),
    f("predict_linear", &[Matrix, Scalar], 0, Vector),
    f("present_over_time", &[Matrix], 0, Vector),
    f("quantile_over_time", &[Scalar, Matrix], 0, Vector),
    f("rad", &[Vector], 0, Vector),
    x("range", &[], 0, Scalar),
    f("rate", &[Matrix], 0, Vector),
    f("resets", &[Matrix], 0, Vector),
    f("round", &[Vector, Scalar], 1, Vector),
    f("scalar", &[Vector], 0, Scalar),
    f("sgn", &[Vector], 0, Vector),
    f("sin", &[Vector], 0, Vector),
    f("sinh", &[Vector], 0, Vector),
    f("sort", &[Vector], 0, Vector),
    x("sort_by_label", &[Vector, String], -1, Vector),
    x("sort_by_label_desc", &[Vector, String], -1, Vector),
    f("sort_desc", &[Vector], 0, Vector),
    f("sqrt", &[Vector], 0, Vector),
    x("start", &[], 0, Scalar),
    x("start_timestamp", &[Vector], 0, Vector),
    f("stddev_over_time", &[Matrix], 0, Vector),
    f("stdvar_over_time", &[Matrix], 0, Vector),
    x("step", &[], 0, Scalar),
    f("sum_over_time", &[Matrix], 0, Vector),
    f("tan", &[Vector], 0, Vector),
    f("tanh", &[Vector], 0, Vector),
    f("time", &[], 0, Scalar),
    f("timestamp", &[Vector], 0, Vector),
    x("ts_of_first_over_time", &[Matrix], 0, Vector),
    x("ts_of_last_over_time", &[Matrix], 0, Vector),
    x("ts_of_max_over_time", &[Matrix], 0, Vector),
    x("ts_of_min_over_time", &[Matrix], 0, Vector),
    f("vector", &[Scalar], 0, Vector),
    f("year", &[Vector], 1, Vector),
];

/// The function of that name.
#[must_use]
pub fn lookup(name: &str) -> Option<&'static Function> {
    let index = FUNCTIONS.binary_search_by(|function| function.name.cmp(name)).ok()?;
    FUNCTIONS.get(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted_and_complete() {
        assert!(FUNCTIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert_eq!(FUNCTIONS.len(), 90);
        assert_eq!(lookup("rate").map(|function| function.returns), Some(Vector));
        assert_eq!(lookup("holt_winters"), None);
    }
}
