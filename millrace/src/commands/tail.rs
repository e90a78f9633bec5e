//! `millrace tail`: a topic's records as JSON lines.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use api::{ApiConfig, Deps, Server};
use tokio_util::sync::CancellationToken;

use crate::cli::TailArgs;
use crate::config::Pipeline;
use crate::topics;

/// Prints records until the limit, the topic's end where `--no-follow` was given, or Ctrl-C.
///
/// One process owns an embedded log. While `millrace up` runs, its API is asked; otherwise the log is opened
/// here and served to this command alone, so both ways print the same.
///
/// # Errors
/// When neither answers, or there is no such topic or offset.
pub(crate) async fn run(args: &TailArgs) -> anyhow::Result<()> {
    let pipeline = Pipeline::load(&args.file.file)?;
    let running = format!("http://{}", pipeline.server.listen);
    let client = reqwest::Client::builder().connect_timeout(std::time::Duration::from_secs(2)).build()?;
    if is_millrace(&client, &running).await {
        return print(&client, &running, args).await;
    }
    let log = topics::open(&pipeline.log, &pipeline.data_dir).await?.log;
    let cache = Arc::new(aggregate::cache::MemoryCache::new(pipeline.cache.ttl));
    let config = ApiConfig::new(([127, 0, 0, 1], 0).into(), pipeline.instruments.clone());
    let server = Server::bind(config, Deps::new(Arc::clone(&log), cache))?;
    let address = format!("http://{}", server.local_addr());
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.run(stop.clone()));
    let result = tokio::select! {
        printed = print(&client, &address, args) => printed,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    stop.cancel();
    serving.await?;
    log.close().await?;
    result
}

/// Whether our own program answers there.
pub(super) async fn is_millrace(client: &reqwest::Client, base: &str) -> bool {
    match client.get(format!("{base}/openapi.json")).send().await {
        Ok(answer) => answer.text().await.is_ok_and(|text| text.contains("\"Millrace\"") || text.contains("/healthz")),
        Err(_) => false,
    }
}

async fn print(client: &reqwest::Client, base: &str, args: &TailArgs) -> anyhow::Result<()> {
    let mut url = format!("{base}/topics/{}/records?from={}&follow={}", args.topic, args.from, !args.no_follow);
    if let Some(partition) = args.partition {
        url.push_str(&format!("&partition={partition}"));
    }
    let mut answer = client.get(&url).send().await.context("the API does not answer")?;
    if !answer.status().is_success() {
        let status = answer.status();
        bail!("{status}: {}", answer.text().await.unwrap_or_default().trim());
    }
    let mut out = std::io::stdout().lock();
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut line = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if line.last() == Some(&b'\n') {
                if left == 0 {
                    return Ok(());
                }
                // Whoever reads us may stop reading: that is no error.
                if out.write_all(&line).is_err() {
                    return Ok(());
                }
                line.clear();
                left -= 1;
            }
        }
        if out.flush().is_err() || left == 0 {
            return Ok(());
        }
    }
    Ok(())
}
