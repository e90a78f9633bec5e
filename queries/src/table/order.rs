//! Sorted files in chains: within a chain every file begins after the one before it ended.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::common::ScalarValue;

use super::files::File;

/// Chains of files sorted by these columns; `None` when a file's ends are not known, or there would be more than
/// `chains_max`: then reading them unsorted is better than merging so many.
pub(super) fn chains(files: &[Arc<File>], columns: &[usize], chains_max: usize) -> Option<Vec<Vec<Arc<File>>>> {
    let mut files: Vec<Arc<File>> = files.to_vec();
    if files.iter().any(|file| end(file, columns, false).is_none()) {
        return None;
    }
    files.sort_by(|a, b| compare(&end(a, columns, false), &end(b, columns, false)).then_with(|| a.path.cmp(&b.path)));
    let mut chains: Vec<Vec<Arc<File>>> = Vec::new();
    for file in files {
        let first = end(&file, columns, false);
        let fits = chains.iter().position(|chain| {
            chain.last().is_some_and(|last| compare(&end(last, columns, true), &first) == Ordering::Less)
        });
        match fits {
            Some(chain) => chains[chain].push(file),
            None if chains.len() == chains_max => return None,
            None => chains.push(vec![file]),
        }
    }
    Some(chains)
}

/// Smallest or largest value of the first sort column. That one alone decides: the others' extremes need not stand
/// in the same row.
fn end(file: &File, columns: &[usize], largest: bool) -> Option<ScalarValue> {
    let range = file.ranges.get(*columns.first()?)?.as_ref()?;
    if range.nulls != Some(0) {
        return None;
    }
    Some(if largest { range.max.clone() } else { range.min.clone() })
}

fn compare(a: &Option<ScalarValue>, b: &Option<ScalarValue>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        _ => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::Range;
    use super::*;

    fn file(path: &str, min: &str, max: &str) -> Arc<File> {
        let text = |text: &str| ScalarValue::Utf8View(Some(text.to_owned()));
        let range = Range { min: text(min), max: text(max), nulls: Some(0) };
        Arc::new(File { path: path.into(), bytes: 1, rows: 1, date: 0, ranges: vec![Some(range)], sorted: true })
    }

    #[test]
    fn files_follow_each_other_only_where_their_keys_do() {
        let files = [file("a", "A", "F"), file("b", "G", "M"), file("c", "A", "M"), file("d", "M", "Z")];
        let chains = chains(&files, &[0], 4).expect("three chains");
        let names: Vec<String> =
            chains.iter().map(|chain| chain.iter().map(|file| file.path.as_str()).collect()).collect();
        assert_eq!(names, ["ab", "c", "d"], "b and d share M, whose times may overlap");
        assert!(super::chains(&files, &[0], 2).is_none());
        assert!(super::chains(&files, &[1], 4).is_none(), "nothing is known of the second column");
    }
}
