//! Where runs of equal keys begin among sorted rows.

use std::cmp::Ordering;

use arrow::array::{ArrayRef, make_comparator};
use arrow::compute::{SortOptions, partition};
use datafusion::error::Result;

/// One run in so many rows, at most, is looked for by halves; with more, all rows are compared.
const ROWS_A_RUN: usize = 16;

/// The first row of each run; of keys that are sorted, and not empty. Where the first and the last row have one key, all
/// between have it, so a batch of one run costs one comparison.
pub(super) fn begins(keys: &[ArrayRef]) -> Result<Vec<u32>> {
    let rows = keys[0].len();
    let mut comparators = Vec::with_capacity(keys.len());
    for key in keys {
        comparators.push(make_comparator(key, key, SortOptions::default())?);
    }
    let same = |a: usize, b: usize| comparators.iter().all(|compare| compare(a, b) == Ordering::Equal);
    let mut begins = vec![0];
    if between(0, rows - 1, &same, &mut begins, rows / ROWS_A_RUN) {
        return Ok(begins);
    }
    Ok(partition(keys)?.ranges().iter().map(|range| range.start as u32).collect())
}

/// Adds the rows after `first`, up to `last`, whose key is not the one before theirs; false when there are more than `max`.
fn between(first: usize, last: usize, same: &impl Fn(usize, usize) -> bool, begins: &mut Vec<u32>, max: usize) -> bool {
    if first == last || same(first, last) {
        return true;
    }
    if last - first == 1 {
        begins.push(last as u32);
        return begins.len() <= max;
    }
    let middle = first.midpoint(last);
    between(first, middle, same, begins, max) && between(middle, last, same, begins, max)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringViewArray};

    use super::*;

    #[test]
    fn runs_are_those_of_comparing_every_row() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..300 {
            let (rows, kinds) = (random.usize(1..400), random.usize(1..60));
            let mut keys: Vec<(Option<String>, i64)> = (0..rows)
                .map(|_| (random.bool().then(|| format!("a text of {}", random.usize(..kinds))), random.i64(0..3)))
                .collect();
            keys.sort();
            let columns: [ArrayRef; 2] = [
                Arc::new(keys.iter().map(|key| key.0.as_deref()).collect::<StringViewArray>()),
                Arc::new(keys.iter().map(|key| key.1).collect::<Int64Array>()),
            ];
            let all: Vec<u32> =
                (0..rows).filter(|row| *row == 0 || keys[row - 1] != keys[*row]).map(|row| row as u32).collect();
            assert_eq!(begins(&columns).expect("found"), all);
        }
    }
}
