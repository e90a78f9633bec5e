//! A real `redis-server` of the test's own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

/// Runs on a free loopback port with a directory of its own, until it is dropped.
pub(crate) struct RedisServer {
    port: u16,
    directory: tempfile::TempDir,
    child: Option<Child>,
}

impl RedisServer {
    /// Reserves a port and starts the server there.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let mut server = Self::stopped()?;
        server.restart().await?;
        Ok(server)
    }

    /// Reserves a port and starts nothing.
    pub(crate) fn stopped() -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Ok(Self { port, directory: tempfile::tempdir()?, child: None })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it where it does not run, and waits until it answers.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(self.directory.path())
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server cannot be started: `cargo xtask setup` installs it")?;
        self.child = Some(child);
        for _ in 0..3_000 {
            if self.connection().await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("redis-server on port {} does not answer", self.port)
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is our child");
            child.wait().expect("it is our child");
        }
    }

    /// Sends the process a signal: `STOP` makes it hang, `CONT` ends that.
    pub(crate) fn signal(&self, name: &str) -> anyhow::Result<()> {
        let child = self.child.as_ref().context("it does not run")?;
        let status = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status()?;
        anyhow::ensure!(status.success(), "kill -{name} failed");
        Ok(())
    }

    /// A connection of the test's own, that has answered once.
    pub(crate) async fn connection(&self) -> anyhow::Result<redis::aio::MultiplexedConnection> {
        // Patient: the machine may be busy.
        let patience = Some(Duration::from_secs(30));
        let config =
            redis::AsyncConnectionConfig::new().set_connection_timeout(patience).set_response_timeout(patience);
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        redis::cmd("PING").exec_async(&mut connection).await?;
        Ok(connection)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
