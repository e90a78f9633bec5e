//! `millrace compact`, `vacuum`, `verify` and `join`: tending the lake's tables.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use journal::Log;
use sink::lake::Lake;
use sink::tables::Table;
use sink::tend;

use crate::cli::TablesArgs;
use crate::config::{BackEnd, Pipeline};
use crate::control::{self, Request};
use crate::topics;

/// Rewrites what is closed into fewer, sorted files. The program may go on running.
///
/// # Errors
/// When the lake is away or a file cannot be read.
pub(crate) async fn compact(args: &TablesArgs) -> anyhow::Result<()> {
    let (_, lake) = open(&args.file.file).await?;
    for table in args.tables() {
        let bar = bar("{msg:14} {bar:40} {pos}/{len} jobs [{elapsed} / {eta} left]", table);
        let done = tend::compact(&lake, table, |at, all| {
            bar.set_length(all as u64);
            bar.set_position(at as u64);
        })
        .await
        .with_context(|| format!("table {table}"))?;
        bar.finish_and_clear();
        println!(
            "{table}: {} files of {} bytes became {} of {}, {} rows",
            done.files_before, done.bytes_before, done.files_after, done.bytes_after, done.rows
        );
    }
    Ok(())
}

/// Deletes files that have been out of their table for longer than `keep`, and entries of the tables' logs that are
/// older than the tables say.
///
/// # Errors
/// When the lake is away.
pub(crate) async fn vacuum(args: &TablesArgs, keep: Duration) -> anyhow::Result<()> {
    let (_, lake) = open(&args.file.file).await?;
    for table in args.tables() {
        let bar = bar("{msg:14} {spinner} {pos} files", table);
        let done = tend::vacuum(&lake, table, keep, |seen| bar.set_position(seen as u64)).await?;
        bar.finish_and_clear();
        println!(
            "{table}: {} of {} files deleted, {} bytes; {} entries of its log",
            done.deleted, done.seen, done.bytes, done.log_entries
        );
    }
    Ok(())
}

/// Compares the lake with the log: every offset once.
///
/// # Errors
/// When something is wrong, or one of them is away.
pub(crate) async fn verify(args: &TablesArgs) -> anyhow::Result<()> {
    let pipeline = Pipeline::load(&args.file.file)?;
    let embedded = matches!(pipeline.log.back_end, BackEnd::Embedded { .. });
    let tables: Vec<Table> = args.tables();
    let mut sound = true;
    for table in tables {
        let bar = bar("{msg:14} {spinner} {pos} rows and records [{elapsed}]", table);
        // The program that owns the log is asked; without one the log is opened here.
        let asked = if embedded {
            control::verified(&pipeline.data_dir, &Request::Verify(table.name().to_owned())).await?
        } else {
            None
        };
        let (line, fine) = match asked {
            Some(answer) => answer,
            None => {
                let log = topics::open(&pipeline.log, &pipeline.data_dir).await?.log;
                let found = one(&lake_of(&pipeline).await?, &log, table, |seen| bar.set_position(seen)).await;
                log.close().await?;
                found?
            }
        };
        bar.finish_and_clear();
        println!("{line}");
        sound &= fine;
    }
    ensure!(sound, "the lake does not agree with the log");
    Ok(())
}

/// Verifies one table: a line for people, and whether it is sound.
///
/// # Errors
/// When the lake or the log is away.
pub(crate) async fn one(
    lake: &Lake,
    log: &std::sync::Arc<dyn Log>,
    table: Table,
    progress: impl FnMut(u64),
) -> anyhow::Result<(String, bool)> {
    let found = tend::verify(lake, log, table, progress).await?;
    let sound = found.is_sound();
    let verdict = if sound { "every offset once".to_owned() } else { format!("WRONG at {:?}", found.examples) };
    let line = format!(
        "{table}: {verdict}; {} rows, {} records compared, {} refused, {} missing, {} doubled, {} invented",
        found.rows, found.records, found.refused, found.missing, found.doubled, found.invented
    );
    Ok((line, sound))
}

/// Lets this pipeline's log continue a lake that another one began.
///
/// # Errors
/// When the program runs, or the lake is away.
pub(crate) async fn join(file: &Path) -> anyhow::Result<()> {
    let (pipeline, lake) = open(file).await?;
    let log = topics::open(&pipeline.log, &pipeline.data_dir).await?.log;
    let joined = sink::land::join(&lake, &log).await;
    log.close().await?;
    let joined = joined?;
    let names: Vec<&str> = joined.iter().map(|table| table.name()).collect();
    println!("{} continues {}", lake.place(), if names.is_empty() { "as it was".to_owned() } else { names.join(", ") });
    Ok(())
}

async fn open(file: &Path) -> anyhow::Result<(Pipeline, Lake)> {
    let pipeline = Pipeline::load(file)?;
    let lake = lake_of(&pipeline).await?;
    Ok((pipeline, lake))
}

async fn lake_of(pipeline: &Pipeline) -> anyhow::Result<Lake> {
    let place = pipeline.lake.place.as_ref().context("this pipeline has no lake: set `lake: { type: directory }`")?;
    Ok(Lake::open(place).await?)
}

fn bar(template: &str, table: Table) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("a fixed template");
    ProgressBar::new(0).with_style(style).with_message(table.name())
}
