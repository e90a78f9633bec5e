//! Statements on a lake, in this process.

use futures_util::StreamExt;
use queries::live::LiveTables;
use queries::{Caller, Engine, Limits};
use sink::lake::{Lake, Place};

use super::shown::Output;

/// Time that a person waits for a statement on a lake; Ctrl-C ends it earlier.
const TIME_MAX: std::time::Duration = std::time::Duration::from_secs(3_600);

/// An engine over a lake.
pub(crate) struct Direct {
    engine: Engine,
    tables: LiveTables,
}

impl Direct {
    /// Opens a lake.
    pub(super) async fn open(place: &Place) -> anyhow::Result<Self> {
        if let Place::Directory(path) = place {
            anyhow::ensure!(path.is_dir(), "{} is not a directory", path.display());
        }
        let lake = Lake::open(place).await?;
        let engine = Engine::new(Limits { time_max: TIME_MAX, ..Limits::default() })?;
        engine.register_lake(&lake)?;
        Ok(Self { engine, tables: LiveTables::new(Some(lake), None, 0) })
    }

    pub(super) async fn run(&self, sql: &str, output: &Output) -> anyhow::Result<()> {
        let mut answer = self.engine.run(sql, &self.tables, &Caller::Operator).await?;
        let mut showing = output.begin(&answer.schema())?;
        let progress = progress();
        let mut rows = 0;
        while let Some(batch) = answer.next().await {
            let batch = batch?;
            rows += batch.num_rows();
            progress.set_message(format!("{rows} rows"));
            if !showing.batch(&batch)? {
                return Ok(());
            }
        }
        progress.finish_and_clear();
        showing.finish()
    }

    pub(super) async fn names(&self) -> anyhow::Result<Vec<String>> {
        super::prompt::names_of(
            self.engine.run(super::prompt::NAMES, &self.tables, &Caller::Operator).await?.collect().await?,
        )
    }
}

/// Says that work goes on, on standard error, where a person looks.
pub(super) fn progress() -> indicatif::ProgressBar {
    let progress =
        indicatif::ProgressBar::new_spinner().with_finish(indicatif::ProgressFinish::AndClear).with_message("working");
    progress.enable_steady_tick(std::time::Duration::from_millis(200));
    progress
}
