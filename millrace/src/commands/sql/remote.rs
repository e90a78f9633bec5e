//! Statements on a running pipeline, over its API.

use anyhow::{Context as _, bail};
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;

use super::direct::progress;
use super::shown::Output;
use crate::commands::tail::is_millrace;
use crate::config::Pipeline;
use crate::trader_key;

/// A running pipeline's API.
pub(crate) struct Remote {
    client: reqwest::Client,
    url: String,
    key: String,
}

impl Remote {
    /// The API of this pipeline, if it answers. Without a key given, one of the file or of the data directory is
    /// taken: whoever can read them may use them.
    pub(super) async fn find(pipeline: &Pipeline, key: Option<String>) -> anyhow::Result<Option<Self>> {
        let base = format!("http://{}", pipeline.server.listen);
        let client = reqwest::Client::builder().connect_timeout(std::time::Duration::from_secs(2)).build()?;
        if !is_millrace(&client, &base).await {
            return Ok(None);
        }
        let keys = pipeline.matcher.as_ref().map_or(&[][..], |matcher| &matcher.keys);
        let key = match (key, keys.iter().find(|key| key.operator).or(keys.first())) {
            (Some(key), _) => key,
            (None, Some(key)) => key.secret.clone(),
            (None, None) => trader_key::open(&pipeline.data_dir)?.1.secret,
        };
        Ok(Some(Self { client, url: format!("{base}/sql?format=arrow"), key }))
    }

    async fn send(&self, sql: &str) -> anyhow::Result<reqwest::Response> {
        let request = self.client.post(&self.url).header("x-api-key", &self.key).body(sql.to_owned());
        let answer = request.send().await.context("the API does not answer")?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let text = answer.text().await.unwrap_or_default();
        let problem: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        match problem["error"]["message"].as_str() {
            Some(message) => bail!("{message}"),
            None => bail!("{}", text.trim()),
        }
    }

    pub(super) async fn run(&self, sql: &str, output: &Output) -> anyhow::Result<()> {
        let progress = progress();
        let mut answer = self.send(sql).await?;
        if let Some(note) = answer.headers().get("x-millrace-note").and_then(|note| note.to_str().ok()) {
            eprintln!("note: {note}");
        }
        let (mut decoder, mut showing, mut rows) = (StreamDecoder::new(), None, 0);
        while let Some(chunk) = answer.chunk().await.context("the answer broke off")? {
            let mut buffer = Buffer::from_vec(chunk.to_vec());
            while !buffer.is_empty() {
                let batch = decoder.decode(&mut buffer)?;
                if showing.is_none()
                    && let Some(schema) = decoder.schema()
                {
                    showing = Some(output.begin(&schema)?);
                }
                let (Some(batch), Some(showing)) = (batch, &mut showing) else { continue };
                rows += batch.num_rows();
                progress.set_message(format!("{rows} rows"));
                if !showing.batch(&batch)? {
                    return Ok(());
                }
            }
        }
        progress.finish_and_clear();
        decoder.finish().context("the answer broke off")?;
        showing.context("the answer is empty")?.finish()
    }

    pub(super) async fn names(&self) -> anyhow::Result<Vec<String>> {
        let bytes = self.send(super::prompt::NAMES).await?.bytes().await?;
        let batches = arrow::ipc::reader::StreamReader::try_new(std::io::Cursor::new(bytes), None)?;
        super::prompt::names_of(batches.collect::<Result<_, _>>()?)
    }
}
