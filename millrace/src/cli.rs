//! The command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use sink::tables::Table;

use crate::config::duration;

/// Turns exchange data into things people rely on: one trustworthy price per instrument, an exchange, a lake.
///
/// Without a command: `up`.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, about, long_about = None, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) up: UpArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the whole pipeline in this process until Ctrl-C
    Up(UpArgs),
    /// Runs one stage, for stages on different machines that share a Fluvio cluster
    Run {
        /// The stage
        #[arg(value_enum)]
        stage: Stage,
        #[command(flatten)]
        file: FileArgs,
    },
    /// Reads a pipeline file and tells every mistake in it, with its place and the mend
    Check {
        /// The file
        #[arg(default_value = "pipeline.yaml")]
        file: PathBuf,
    },
    /// Asks whether the log, the cache and the venues are reachable and sane
    Doctor {
        #[command(flatten)]
        file: FileArgs,
    },
    /// Prints a topic's records as JSON lines, and goes on as they come
    Tail(TailArgs),
    /// Asks the lake and the live tail with SQL; without a statement there is a prompt
    Sql(SqlArgs),
    /// The process in which SQL runs; started by the program itself
    #[command(hide = true)]
    SqlWorker,
    /// Puts recorded frames through the whole pipeline, in a data directory of its own
    Replay(ReplayArgs),
    /// Rewrites closed hours and dates of the lake into fewer files, sorted by symbol and time
    Compact(TablesArgs),
    /// Deletes files that have long been out of their table, and what has expired of the tables' logs
    Vacuum {
        /// How long a file is kept after it left its table, 1m to 7d
        #[arg(long, default_value = "1d", value_parser = keep)]
        keep: Duration,
        #[command(flatten)]
        tables: TablesArgs,
    },
    /// Compares the lake with the log: every offset once
    Verify(TablesArgs),
    /// Lets this pipeline's log continue a lake that another log began
    Join {
        #[command(flatten)]
        file: FileArgs,
    },
    /// Copies the log consistently, while the program runs or not
    Backup {
        /// A folder that does not exist yet
        to: PathBuf,
        #[command(flatten)]
        file: FileArgs,
    },
    /// Puts a backup back into an empty data directory
    Restore {
        /// The backup's folder
        from: PathBuf,
        #[command(flatten)]
        file: FileArgs,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct UpArgs {
    /// The pipeline file
    #[arg(value_name = "FILE", default_value = "pipeline.yaml")]
    pub(crate) file: PathBuf,
    /// Plain log lines also on a terminal
    #[arg(long)]
    pub(crate) no_live: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct FileArgs {
    /// The pipeline file
    #[arg(long, short, value_name = "FILE", default_value = "pipeline.yaml")]
    pub(crate) file: PathBuf,
}

/// How long a vacuum keeps files.
fn keep(text: &str) -> Result<Duration, String> {
    // A table remembers what left it for a week.
    duration(Duration::from_secs(60)..=Duration::from_secs(7 * 86_400))(text)
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TablesArgs {
    /// The tables; all of them when not given
    #[arg(value_parser = Table::from_str)]
    tables: Vec<Table>,
    #[command(flatten)]
    pub(crate) file: FileArgs,
}

impl TablesArgs {
    /// The tables meant.
    pub(crate) fn tables(&self) -> Vec<Table> {
        if self.tables.is_empty() { Table::all().to_vec() } else { self.tables.clone() }
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TailArgs {
    /// The topic: ticks, prices, candles, control, dead-letters
    pub(crate) topic: String,
    /// One partition; all of them when not given
    #[arg(long)]
    pub(crate) partition: Option<u32>,
    /// An offset, `start`, `end`, or `-N` for the last N of each partition
    #[arg(long, default_value = "-10", allow_hyphen_values = true)]
    pub(crate) from: String,
    /// Stops at the records that are there now
    #[arg(long)]
    pub(crate) no_follow: bool,
    /// Stops after so many records
    #[arg(long)]
    pub(crate) limit: Option<u64>,
    #[command(flatten)]
    pub(crate) file: FileArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SqlArgs {
    /// The statement; without it there is a prompt, or statements are read from standard input
    pub(crate) statement: Option<String>,
    /// How rows are written
    #[arg(long, value_enum, default_value_t = SqlFormat::Table)]
    pub(crate) format: SqlFormat,
    /// A file for the rows, in formats other than table
    #[arg(long, short)]
    pub(crate) output: Option<PathBuf>,
    /// A lake's directory, or s3://bucket/prefix, asked directly without a pipeline
    #[arg(long)]
    pub(crate) lake: Option<String>,
    /// A key of the running pipeline; without it one of the pipeline file or the data directory
    #[arg(long)]
    pub(crate) key: Option<String>,
    #[command(flatten)]
    pub(crate) file: FileArgs,
}

/// How `millrace sql` writes rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SqlFormat {
    /// A table for people
    Table,
    /// Comma separated, with the names of the columns
    Csv,
    /// A JSON object a line
    Json,
    /// An Arrow IPC stream
    Arrow,
    /// A Parquet file
    Parquet,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ReplayArgs {
    /// Recorded frames: lines of `recv_ns FRAME`, plain or gzip
    #[arg(required = true)]
    pub(crate) frames: Vec<PathBuf>,
    /// How fast: a factor of the recorded time, or `max`
    #[arg(long, default_value = "max")]
    pub(crate) speed: String,
    /// The source in the pipeline file whose format the frames have
    #[arg(long, default_value = "binance")]
    pub(crate) source: String,
    /// Where the replay's log and snapshots go; a new folder beside the pipeline's when not given
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) file: FileArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    /// Venue connectors: venues to `ticks`
    Ingest,
    /// Composite prices and candles: `ticks` to `prices`, `candles` and the cache
    Aggregate,
    /// The exchange: `orders` to `executions`, `trades`, `book`, `ledger`
    Matcher,
    /// Landing: topics to the lake's tables
    Sink,
    /// REST, WebSocket, server-sent events
    Api,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["millrace"]).expect("no command is up");
        assert!(cli.command.is_none());
        assert_eq!(cli.up.file, PathBuf::from("pipeline.yaml"));
    }
}
