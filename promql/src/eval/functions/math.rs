//! Functions of one number, applied to every value of a vector.

use crate::eval::binary::with_scalar::change_each;
use crate::eval::mapped::mapped_floats;
use crate::eval::scalar::{ScalarRow, go_max, go_min};
use crate::eval::vector::Vector;
use std::f64::consts::PI;

/// The function of that name in PromQL, if it is one of one number.
pub(crate) fn named(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sqrt" => f64::sqrt,
        "sgn" => sign,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "deg" => |v| v * 180.0 / PI,
        "rad" => |v| v * PI / 180.0,
        _ => return None,
    })
}

/// -1, 1, or the value itself for zeros and NaN.
fn sign(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

/// `round`: to the nearest multiple of `to`, halves up.
pub(crate) fn round(vector: Vector<'_>, to: ScalarRow) -> Vector<'_> {
    // Prometheus multiplies by the inverse: it costs fewer digits.
    let inverse = to.map(|to| 1.0 / to);
    mapped_floats(vector, move |row| {
        change_each(row, |step, value| {
            let inverse = inverse.at(step);
            (value * inverse + 0.5).floor() / inverse
        });
    })
}

/// `clamp` and its kin; a step at which `max < min` has no result.
pub(crate) fn clamp(vector: Vector<'_>, min: ScalarRow, max: ScalarRow) -> Vector<'_> {
    mapped_floats(vector, move |row| {
        // NaN bounds are no contradiction: they make the result NaN.
        let crossed = |step| max.at(step) < min.at(step);
        row.retain(|step, _| !crossed(step));
        change_each(row, |step, value| go_max(min.at(step), go_min(max.at(step), value)));
    })
}
