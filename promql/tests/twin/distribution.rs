//! What a native histogram says of its observations, for the naive evaluator: a list of pieces, each with its share.

use crate::cell::Hist;

/// Observations between two values, spread evenly, or evenly on a logarithmic scale.
#[derive(Debug, Clone, Copy)]
struct Piece {
    key: Key,
    lower: f64,
    upper: f64,
    count: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Key {
    Zero,
    Bucket(bool, i32),
}

const ZERO_THRESHOLD: f64 = 0.001;

/// The populated buckets from the lowest to the highest.
fn pieces(histogram: &Hist) -> Vec<Piece> {
    let custom = histogram.schema == -53;
    let exponential = |index: i32| (f64::from(index) * (-f64::from(histogram.schema)).exp2()).exp2();
    let bound = |index: i32| -> f64 {
        match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(index) => histogram.bounds.get(index).copied().unwrap_or(f64::INFINITY),
        }
    };
    let has = |side: bool| histogram.buckets.keys().any(|(positive, _)| *positive == side);
    let mut pieces: Vec<Piece> = histogram
        .buckets
        .iter()
        .map(|((positive, index), count)| {
            let (lower, upper) = match (custom, positive) {
                (true, _) => (bound(index - 1), bound(*index)),
                (false, true) => (exponential(index - 1), exponential(*index)),
                (false, false) => (-exponential(*index), -exponential(index - 1)),
            };
            Piece { key: Key::Bucket(*positive, *index), lower, upper, count: *count }
        })
        .collect();
    if histogram.zero != 0.0 {
        let lower = if has(true) && !has(false) { 0.0 } else { -ZERO_THRESHOLD };
        let upper = if has(false) && !has(true) { 0.0 } else { ZERO_THRESHOLD };
        pieces.push(Piece { key: Key::Zero, lower, upper, count: histogram.zero });
    }
    pieces.sort_by(|a, b| a.lower.total_cmp(&b.lower));
    pieces
}

impl Piece {
    fn is_linear(&self, histogram: &Hist) -> bool {
        histogram.schema == -53 || self.key == Key::Zero
    }

    /// Which part of it is below a value inside.
    fn share_below(&self, value: f64, linear: bool) -> f64 {
        if linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        (value / self.lower).ln() / (self.upper / self.lower).ln()
    }

    /// The value below which this part of it is.
    fn value_at(&self, share: f64, linear: bool) -> f64 {
        if linear {
            return self.lower + (self.upper - self.lower) * share;
        }
        self.lower * (self.upper / self.lower).powf(share)
    }

    fn middle(&self, linear: bool) -> f64 {
        if self.lower == f64::NEG_INFINITY {
            return if self.upper > 0.0 { self.upper / 2.0 } else { self.upper };
        }
        if self.upper == f64::INFINITY {
            return self.lower;
        }
        if linear { (self.lower + self.upper) / 2.0 } else { self.value_at(0.5, false) }
    }
}

pub(crate) fn native_quantile(q: f64, histogram: &Hist) -> f64 {
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    if histogram.count == 0.0 || q.is_nan() {
        return f64::NAN;
    }
    // From which end observations are counted matters when the quantile lies between two buckets.
    let from_below = histogram.sum.is_nan() || q < 0.5;
    let rank = histogram.count * if from_below { q } else { 1.0 - q };
    let mut ordered = pieces(histogram);
    if !from_below {
        ordered.reverse();
    }
    let mut passed = 0.0;
    for (i, piece) in ordered.iter().enumerate() {
        if passed + piece.count < rank && i + 1 < ordered.len() {
            passed += piece.count;
            continue;
        }
        let share = (rank - passed).min(piece.count) / piece.count;
        let share = if from_below { share } else { 1.0 - share };
        let mut piece = *piece;
        if piece.lower == f64::NEG_INFINITY {
            if piece.upper <= 0.0 {
                return piece.upper;
            }
            piece.lower = 0.0;
        }
        if piece.upper == f64::INFINITY {
            return piece.lower;
        }
        return piece.value_at(share, piece.is_linear(histogram));
    }
    f64::NAN
}

pub(crate) fn native_fraction(lower: f64, upper: f64, histogram: &Hist) -> f64 {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let below = |value: f64| -> f64 {
        let share = |piece: &Piece| {
            if value <= piece.lower {
                return 0.0;
            }
            // Of a bucket without a lower end everything counts as below, of one without an upper end nothing.
            if value >= piece.upper || piece.lower == f64::NEG_INFINITY && piece.upper < 0.0 {
                return 1.0;
            }
            if piece.upper == f64::INFINITY {
                return 0.0;
            }
            // Listed bounds above zero have zero below them.
            let piece = Piece { lower: if piece.lower == f64::NEG_INFINITY { 0.0 } else { piece.lower }, ..*piece };
            if value <= piece.lower { 0.0 } else { piece.share_below(value, piece.is_linear(histogram)) }
        };
        pieces(histogram).iter().map(|piece| piece.count * share(piece)).sum()
    };
    (below(upper) - below(lower)) / histogram.count
}

/// What is left below a value, or above it.
pub(crate) fn trimmed(histogram: &Hist, below: bool, at: f64) -> Hist {
    let mut left = Hist::empty_like(histogram);
    left.gauge = histogram.gauge;
    let mut is_cut = false;
    for piece in pieces(histogram) {
        let linear = piece.is_linear(histogram);
        let whole = if below { piece.upper <= at } else { piece.lower >= at };
        let gone = if below { piece.lower >= at } else { piece.upper <= at };
        let part = |lower: f64, upper: f64, share: f64| (Piece { lower, upper, ..piece }.middle(linear), share);
        let (middle, share) = if whole {
            part(piece.lower, piece.upper, 1.0)
        } else if gone {
            (0.0, 0.0)
        } else if piece.upper == f64::INFINITY {
            (at, if below { 0.0 } else { 1.0 })
        } else if piece.lower == f64::NEG_INFINITY {
            // As if it began at zero; what cannot be so is not known.
            match at / piece.upper {
                share if share < 0.0 || (below && share == 0.0) => (0.0, 0.0),
                share if below => (at / 2.0, share),
                share => ((at + piece.upper) / 2.0, 1.0 - share),
            }
        } else {
            let share = piece.share_below(at, linear);
            if below { part(piece.lower, at, share) } else { part(at, piece.upper, 1.0 - share) }
        };
        let kept = piece.count * share;
        is_cut |= share != 1.0;
        left.count += kept;
        left.sum += if kept == 0.0 { 0.0 } else { middle * kept };
        match piece.key {
            _ if kept == 0.0 => {}
            Key::Zero => left.zero = kept,
            Key::Bucket(positive, index) => {
                left.buckets.insert((positive, index), kept);
            }
        }
    }
    if is_cut { left } else { histogram.clone() }
}
