//! A real browser: headless Chromium behind its WebDriver server, `chromedriver`, both from Debian's packages.
//! WebDriver is four calls of JSON over HTTP here (<https://www.w3.org/TR/webdriver2/>), too few for a client crate.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::program::PATIENCE;

/// Alone, offline, without a sandbox since tests may run as root.
const FLAGS: [&str; 10] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,900",
];

/// One browser window; closed when dropped.
pub(crate) struct Browser {
    driver: Child,
    http: reqwest::Client,
    /// Address of the session at the driver.
    session: String,
}

impl Browser {
    /// Starts the driver on a port that it chooses, and a browser with a fresh profile.
    pub(crate) async fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver: `cargo xtask setup` installs it");
        let mut said = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port: u16 = said
            .find_map(|line| line.strip_suffix('.')?.rsplit_once("started successfully on port ")?.1.parse().ok())
            .expect("chromedriver tells its port");
        std::thread::spawn(move || said.for_each(drop));
        let http = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        let mut browser = Self { driver, http, session: format!("http://127.0.0.1:{port}/session") };
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": FLAGS}}}});
        let session = browser.ask("", &wanted).await;
        browser.session = format!("{}/{}", browser.session, session["sessionId"].as_str().unwrap());
        browser
    }

    async fn ask(&self, path: &str, what: &Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.session)).body(what.to_string());
        let answer = request.send().await.unwrap().text().await.unwrap();
        let mut answer: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        assert!(answer["value"]["error"].is_null(), "{path}: {answer}");
        answer["value"].take()
    }

    /// Opens a page.
    pub(crate) async fn open(&self, url: &str) {
        self.ask("/url", &json!({"url": url})).await;
    }

    /// The value of a JavaScript expression in the page.
    pub(crate) async fn value(&self, expression: &str) -> Value {
        self.ask("/execute/sync", &json!({"script": format!("return {expression}"), "args": []})).await
    }

    /// Asks for an expression until its value is as wanted.
    pub(crate) async fn until(&self, expression: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let value = self.value(expression).await;
            if wanted(&value) {
                return value;
            }
            assert!(begun.elapsed() < PATIENCE, "{expression} stayed {value}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Closes the window; a browser left open would outlive its driver.
    pub(crate) async fn close(self) {
        self.http.delete(&self.session).send().await.unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
