//! The live page in a real browser.

use std::process::Command;

use crate::program::{INSTRUMENTS, Place};

/// Chromium as the test command installs it, alone and offline.
const FLAGS: [&str; 12] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--timeout=8000",
    "--window-size=1200,900",
    "--dump-dom",
];

#[test]
fn prices_appear_in_the_browser() {
    let place = Place::new("");
    let running = place.up();
    for name in INSTRUMENTS {
        running.wait_for(&format!("/prices/{name}"), |text| text.contains("\"status\":\"OK\""));
    }
    let profile = place.path("profile");
    let output = Command::new("chromium")
        .args(FLAGS)
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("{}/", running.base))
        .output()
        .expect("chromium: `cargo xtask setup` installs it");
    let page = String::from_utf8_lossy(&output.stdout);
    for name in INSTRUMENTS {
        assert!(page.contains(name), "{name} is not on the page:\n{page}");
    }
    let price = running.get("/prices/BTC-USDT").unwrap();
    let digits = price.split("\"price\":").nth(1).unwrap().split('.').next().unwrap();
    assert!(
        page.replace([',', '\u{202f}', '\u{a0}', ' '], "").contains(digits),
        "no price near {digits} on the page:\n{page}"
    );
    assert!(page.contains("OK"), "{page}");
}
