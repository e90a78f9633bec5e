//! `millrace sql`: statements on a running pipeline, or on a lake alone.

mod direct;
mod prompt;
mod remote;
mod shown;

use std::io::IsTerminal;

use sink::lake::{Place, S3Config};

use crate::cli::SqlArgs;
use crate::config::Pipeline;

use shown::Output;

/// Whoever answers statements.
pub(super) enum Door {
    /// A running pipeline.
    Remote(remote::Remote),
    /// The lake itself.
    Direct(Box<direct::Direct>),
}

impl Door {
    /// Runs a statement and shows its rows.
    async fn run(&self, sql: &str, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Remote(remote) => remote.run(sql, output).await,
            Self::Direct(direct) => direct.run(sql, output).await,
        }
    }

    /// The names that a prompt completes.
    async fn names(&self) -> Vec<String> {
        match self {
            Self::Remote(remote) => remote.names().await.unwrap_or_default(),
            Self::Direct(direct) => direct.names().await.unwrap_or_default(),
        }
    }
}

/// Runs one statement, or those that are typed or piped in.
///
/// # Errors
/// When neither a pipeline nor a lake can be reached, or the statement fails.
pub(crate) async fn run(args: &SqlArgs) -> anyhow::Result<()> {
    let door = open(args).await?;
    let output = Output { format: args.format, to: args.output.clone() };
    if let Some(sql) = &args.statement {
        let stopped = tokio::signal::ctrl_c();
        return tokio::select! {
            done = door.run(sql, &output) => done,
            // What the statement held is freed with it.
            _ = stopped => anyhow::bail!("stopped"),
        };
    }
    if std::io::stdin().is_terminal() {
        return prompt::run(&door, &output).await;
    }
    let text = tokio::task::block_in_place(|| std::io::read_to_string(std::io::stdin()))?;
    for sql in text.split(";\n").map(str::trim).filter(|sql| !sql.is_empty()) {
        door.run(sql, &output).await?;
    }
    Ok(())
}

/// A running pipeline where there is one, else the lake.
async fn open(args: &SqlArgs) -> anyhow::Result<Door> {
    if let Some(lake) = &args.lake {
        return Ok(Door::Direct(Box::new(direct::Direct::open(&place(lake)?).await?)));
    }
    let pipeline = Pipeline::load(&args.file.file)?;
    if let Some(remote) = remote::Remote::find(&pipeline, args.key.clone()).await? {
        return Ok(Door::Remote(remote));
    }
    match &pipeline.lake.place {
        Some(place) => Ok(Door::Direct(Box::new(direct::Direct::open(place).await?))),
        None => anyhow::bail!("no pipeline answers on {} and the file names no lake", pipeline.server.listen),
    }
}

/// A lake as it is named on the command line: a directory, or `s3://bucket/prefix`.
fn place(text: &str) -> anyhow::Result<Place> {
    let Some(rest) = text.strip_prefix("s3://") else { return Ok(Place::Directory(text.into())) };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    anyhow::ensure!(!bucket.is_empty(), "{text} names no bucket: s3://bucket/prefix");
    let (bucket, prefix) = (bucket.to_owned(), prefix.trim_matches('/').to_owned());
    Ok(Place::S3(S3Config {
        bucket,
        prefix,
        endpoint: std::env::var("AWS_ENDPOINT_URL").ok(),
        region: None,
        keys: None,
    }))
}
