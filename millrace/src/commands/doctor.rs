//! `millrace doctor`: are the log, the cache and the venues reachable and sane?

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use ingest::SourceConfig;
use ingest::decode::Output;
use journal::Partition;
use model::{Instrument, Price, TickBody, UnixNanos};
use sink::lake::Lake;

use crate::cli::FileArgs;
use crate::commands::tail::is_millrace;
use crate::config::{BackEnd, Pipeline};
use crate::topics;

/// A part's condition: what was found, or what is wrong.
type Finding = Result<String, String>;

/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Longest wait for the lake's store, retries included.
const LAKE_ANSWER_MAX: Duration = Duration::from_secs(30);
/// A venue whose price lies further than this from the middle of the others is told.
const APART_MAX_BPS: i128 = 300;

/// Checks every part and prints a line for each.
///
/// # Errors
/// When any of them is ill.
pub(crate) async fn run(args: &FileArgs) -> anyhow::Result<()> {
    let pipeline = Pipeline::load(&args.file)?;
    println!("ok    file       {} is sound", args.file.display());
    let client = reqwest::Client::builder().timeout(ANSWER_MAX).build()?;
    let base = format!("http://{}", pipeline.server.listen);
    let up = is_millrace(&client, &base).await;
    let mut ill = 0;
    let mut say = |part: &str, finding: Finding| match finding {
        Ok(found) => println!("ok    {part:<10} {found}"),
        Err(wrong) => {
            ill += 1;
            println!("FAIL  {part:<10} {wrong}");
        }
    };
    if up {
        say("program", program(&client, &base).await);
    } else {
        say("program", Ok(format!("does not run: nothing answers on {base}")));
        say("log", log(&pipeline).await);
        say("disk", disk(&pipeline.data_dir));
    }
    say("cache", cache(&pipeline).await);
    say("lake", lake(&pipeline).await);
    // Simulated venues live in the running program; without it they are started for the look.
    let simulated = match pipeline.simulate.clone().filter(|_| !up) {
        Some(config) => match sim::Venues::start(config).await {
            Ok(handle) => Some(handle),
            Err(error) => {
                say("simulate", Err(error.to_string()));
                None
            }
        },
        None => None,
    };
    let mut prices: BTreeMap<Instrument, Vec<(String, Price)>> = BTreeMap::new();
    for source in &pipeline.sources {
        say(source.venue.as_str(), venue(&client, source, &mut prices).await);
    }
    for (instrument, seen) in &prices {
        if let Err(wrong) = agreement(seen) {
            say(instrument.as_str(), Err(wrong));
        }
    }
    if let Some(handle) = simulated {
        handle.stop().await;
    }
    if ill > 0 {
        bail!("{ill} part{} ill", if ill == 1 { " is" } else { "s are" });
    }
    Ok(())
}

/// What the running program says of itself.
async fn program(client: &reqwest::Client, base: &str) -> Finding {
    let answer = client.get(format!("{base}/healthz")).send().await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let text = answer.text().await.map_err(|error| error.to_string())?;
    if status.is_success() { Ok(format!("runs: {}", text.trim())) } else { Err(text.trim().to_owned()) }
}

async fn log(pipeline: &Pipeline) -> Finding {
    let begun = Instant::now();
    let looked = async {
        let log = topics::open(&pipeline.log, &pipeline.data_dir).await?.log;
        let mut records = 0;
        for (topic, partitions) in log.topics().await? {
            for index in 0..partitions {
                let bounds = log.bounds(&Partition::new(&topic, index)).await?;
                records += bounds.end - bounds.start;
            }
        }
        let unavailable = log.unavailable().await;
        log.close().await?;
        if let Some(error) = unavailable {
            return Err(error.into());
        }
        anyhow::Ok(records)
    };
    let records = looked.await.map_err(|error| format!("{error:#}"))?;
    let place = match &pipeline.log.back_end {
        BackEnd::Embedded { .. } => pipeline.data_dir.join("log").display().to_string(),
        BackEnd::Fluvio { endpoint } => endpoint.clone(),
    };
    Ok(format!("{place} opened in {} ms, {records} records kept", begun.elapsed().as_millis()))
}

/// How long the disk takes to make a small write durable.
fn disk(data_dir: &Path) -> Finding {
    let probe = data_dir.join("doctor.probe");
    let measured = (|| {
        std::fs::create_dir_all(data_dir)?;
        let mut file = std::fs::File::create(&probe)?;
        let mut took = Vec::new();
        for _ in 0..20 {
            let begun = Instant::now();
            std::io::Write::write_all(&mut file, &[0; 4096])?;
            file.sync_data()?;
            took.push(begun.elapsed());
        }
        took.sort();
        std::io::Result::Ok(took[took.len() / 2])
    })();
    let removed = std::fs::remove_file(&probe);
    let median = measured.and_then(|median| removed.map(|()| median));
    match median.with_context(|| format!("writing in {}", data_dir.display())) {
        Ok(median) if median > Duration::from_millis(50) => {
            Err(format!("a synced write takes {} ms: each acknowledgement waits for one", median.as_millis()))
        }
        Ok(median) => Ok(format!("a synced write takes {} µs", median.as_micros())),
        Err(error) => Err(format!("{error:#}")),
    }
}

async fn cache(pipeline: &Pipeline) -> Finding {
    if pipeline.cache.redis.is_none() {
        return Ok("memory".to_owned());
    }
    let cache = crate::pipeline::open_cache(pipeline).map_err(|error| format!("{error:#}"))?;
    let asked = tokio::time::timeout(ANSWER_MAX, cache.list()).await;
    match asked {
        Ok(Ok(prices)) => Ok(format!("Redis answers and holds {} prices", prices.len())),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("Redis does not answer within {} s", ANSWER_MAX.as_secs())),
    }
}

/// Whether the lake's store answers and keeps writers apart.
async fn lake(pipeline: &Pipeline) -> Finding {
    let Some(place) = &pipeline.lake.place else { return Ok("none: nothing lands".to_owned()) };
    let looked = async {
        let lake = Lake::open(place).await?;
        sink::probe::probe(&lake).await
    };
    match tokio::time::timeout(LAKE_ANSWER_MAX, looked).await {
        Ok(Ok(probed)) => Ok(format!(
            "{place} keeps writers apart: one winner in each of {} races, {} ms a race",
            probed.races,
            probed.race.as_millis()
        )),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("{place} gives no answer within {} s", LAKE_ANSWER_MAX.as_secs())),
    }
}

/// Asks a venue for the ticker of all its instruments.
async fn venue(
    client: &reqwest::Client,
    source: &SourceConfig,
    prices: &mut BTreeMap<Instrument, Vec<(String, Price)>>,
) -> Finding {
    let plan = source.plan(&source.instruments);
    let wanted: Vec<u16> = (0..plan.instruments.len() as u16).collect();
    let begun = Instant::now();
    let mut found = 0;
    let requests = source.connector.ticker_requests(&source.endpoints, &plan, &wanted);
    for request in &requests {
        let asked = async {
            let answer = client.get(&request.url).send().await?.error_for_status()?;
            answer.bytes().await
        };
        let body = asked.await.map_err(|error| format!("{}: {error}", request.url))?;
        let mut out = Output::default();
        let now = UnixNanos(
            i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos()).unwrap_or(i64::MAX),
        );
        source
            .connector
            .decode_ticker(&plan, request, &body, now, &mut out)
            .map_err(|error| format!("{}: {error}", request.url))?;
        for tick in &out.ticks {
            if let TickBody::Ticker(ticker) = &tick.body {
                found += 1;
                prices.entry(ticker.instrument).or_default().push((source.venue.to_string(), ticker.last));
            }
        }
    }
    if found < wanted.len() {
        return Err(format!("gave {found} of {} tickers", wanted.len()));
    }
    Ok(format!("{found} tickers in {} requests, {} ms", requests.len(), begun.elapsed().as_millis()))
}

/// Whether the venues' prices lie together.
fn agreement(seen: &[(String, Price)]) -> Finding {
    let mut sorted: Vec<i128> = seen.iter().map(|(_, price)| i128::from(price.raw())).collect();
    sorted.sort_unstable();
    let middle = sorted[sorted.len() / 2];
    let apart: Vec<String> = seen
        .iter()
        .filter(|(_, price)| (i128::from(price.raw()) - middle).abs() * 10_000 > middle * APART_MAX_BPS)
        .map(|(venue, price)| format!("{venue} says {price}"))
        .collect();
    if apart.is_empty() {
        Ok(String::new())
    } else {
        Err(format!("prices lie apart by more than 3 %: {}", apart.join(", ")))
    }
}
