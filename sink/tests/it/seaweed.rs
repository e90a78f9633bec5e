//! SeaweedFS, an S3 server that others have written, on loopback.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sink::lake::{Lake, Place, S3Config, S3Keys};
use sink::land::SinkError;
use sink::probe::{Probed, probe};

/// A SeaweedFS on loopback; it ends with the test.
pub(crate) struct Seaweed {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port below those that the system gives out by itself, so that nobody draws it before the server has it.
fn free_port() -> u16 {
    static DRAWN: AtomicU32 = AtomicU32::new(0);
    loop {
        let at = std::process::id() * 100 + DRAWN.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (at % 12_000) as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Seaweed {
    /// None, with a line that says so, where it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let program = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/readers/bin/weed");
        if !program.is_file() {
            println!("not run: landing in SeaweedFS ({} is absent: cargo xtask setup)", program.display());
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let identities = serde_json::json!({ "identities": [{
            "name": "test",
            "credentials": [{ "accessKey": "test", "secretKey": "not a secret" }],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }] });
        let configuration = folder.path().join("s3.json");
        std::fs::write(&configuration, identities.to_string()).unwrap();
        let port = free_port();
        let option = |name: &str, value: &dyn std::fmt::Display| format!("-{name}={value}");
        let mut command = Command::new(program);
        command.args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-filer"]);
        command.arg(option("dir", &folder.path().display()));
        command.arg(option("s3.config", &configuration.display()));
        command.arg(option("s3.port", &port));
        for part in ["master", "volume", "filer"] {
            command.arg(option(&format!("{part}.port"), &free_port()));
            command.arg(option(&format!("{part}.port.grpc"), &free_port()));
        }
        command.arg(option("s3.port.grpc", &free_port()));
        command.args(["-volume.max=20", "-master.volumeSizeLimitMB=64"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Some(Self { child, port, _folder: folder })
    }

    pub(crate) fn place(&self) -> Place {
        Place::S3(S3Config {
            bucket: "millrace-test".into(),
            prefix: "lake/v1".into(),
            endpoint: Some(format!("http://127.0.0.1:{}", self.port)),
            region: Some("us-east-1".into()),
            keys: Some(S3Keys { access: "test".into(), secret: "not a secret".into() }),
        })
    }

    /// Waits until it takes requests; what the probe of the store found.
    pub(crate) async fn answering(&self, lake: &Lake) -> Probed {
        let give_up = Instant::now() + Duration::from_secs(180);
        loop {
            match probe(lake).await {
                Ok(probed) => return probed,
                Err(SinkError::Lake(error)) if error.is_transient() && Instant::now() < give_up => {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(error) => panic!("SeaweedFS does not answer: {error}"),
            }
        }
    }
}
