//! Reads files in as many pieces as there are cores, where DataFusion would read them in one and deal the batches out.
//!
//! A chain of sorted files is one partition, since only then a merge is spared to those who want it in order. Those who do
//! not are dealt its batches in turns: then one core decodes for all. The pieces are as sorted as the whole.

use std::sync::Arc;

use datafusion::common::Statistics;
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::repartition::RepartitionExec;

/// A file is not cut into smaller pieces.
const PIECE_BYTES_MIN: u64 = 128 << 10;

/// Replaces what deals out the batches of one chain by a scan in pieces.
#[derive(Debug)]
pub(crate) struct ReadInPieces;

impl PhysicalOptimizerRule for ReadInPieces {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let replace = |node: Arc<dyn ExecutionPlan>| match in_pieces(&node) {
            Some(scan) => Ok(Transformed::yes(scan)),
            None => Ok(Transformed::no(node)),
        };
        plan.transform_up(replace).data()
    }

    fn name(&self) -> &str {
        "read_in_pieces"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn in_pieces(node: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let dealt = node.downcast_ref::<RepartitionExec>()?;
    let Partitioning::RoundRobinBatch(count) = *dealt.partitioning() else { return None };
    let scan = dealt.input().downcast_ref::<DataSourceExec>()?;
    let files = scan.data_source().downcast_ref::<FileScanConfig>()?;
    let [group] = &files.file_groups[..] else { return None };
    if files.limit.is_some() || group.iter().any(|file| file.range.is_some()) {
        return None;
    }
    let pieces = cut(group.files(), count);
    if pieces.len() < count {
        return None;
    }
    let cut = FileScanConfigBuilder::from(files.clone()).with_file_groups(pieces).build();
    Some(DataSourceExec::from_data_source(cut))
}

/// What is known of any part of a file: its values lie in the file's ranges, its counts are at most the file's.
fn of_part(whole: &Statistics) -> Statistics {
    let mut part = whole.clone();
    part.num_rows = part.num_rows.to_inexact();
    part.total_byte_size = part.total_byte_size.to_inexact();
    for column in part.column_statistics.iter_mut().filter(|column| column.null_count != Precision::Exact(0)) {
        column.null_count = column.null_count.to_inexact();
    }
    part
}

/// Cuts files, in their order, into so many groups of about the same bytes; fewer where they are too small for it.
pub(super) fn cut(files: &[PartitionedFile], count: usize) -> Vec<FileGroup> {
    let all: u64 = files.iter().map(|file| file.object_meta.size).sum();
    let piece = all.div_ceil(count as u64).max(PIECE_BYTES_MIN);
    let mut groups: Vec<Vec<PartitionedFile>> = Vec::new();
    let (mut begun, mut end) = (0, 0);
    for file in files {
        let size = file.object_meta.size;
        let mut from = 0;
        while from < size {
            if begun == end {
                groups.push(Vec::new());
                end += piece;
            }
            let to = size.min(from + (end - begun));
            begun += to - from;
            let mut part = file.clone();
            if to - from < size {
                part = part.with_range(from as i64, to as i64);
                part.statistics = part.statistics.map(|known| Arc::new(of_part(&known)));
            }
            if let Some(group) = groups.last_mut() {
                group.push(part);
            }
            from = to;
        }
    }
    groups.into_iter().map(FileGroup::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(sizes: &[u64], count: usize) -> Vec<Vec<(String, u64, u64)>> {
        // Sizes in units of the smallest piece.
        let units = |bytes: u64| bytes / PIECE_BYTES_MIN;
        let files: Vec<_> = sizes
            .iter()
            .enumerate()
            .map(|(at, size)| PartitionedFile::new(at.to_string(), size * PIECE_BYTES_MIN))
            .collect();
        let part = |file: &PartitionedFile| {
            let (from, to) = file.range();
            (file.path().to_string(), units(from), units(to))
        };
        cut(&files, count).iter().map(|group| group.iter().map(part).collect()).collect()
    }

    #[test]
    fn pieces_follow_each_other_and_are_about_the_same() {
        let part = |name: &str, from, to| (name.to_owned(), from, to);
        assert_eq!(parts(&[6, 2], 2), [vec![part("0", 0, 4)], vec![part("0", 4, 6), part("1", 0, 2)]]);
        assert_eq!(parts(&[2, 2], 2), [vec![part("0", 0, 2)], vec![part("1", 0, 2)]]);
        assert_eq!(parts(&[9], 3), [vec![part("0", 0, 3)], vec![part("0", 3, 6)], vec![part("0", 6, 9)]]);
        assert_eq!(parts(&[1], 3), [vec![part("0", 0, 1)]], "too small to be cut");
    }
}
