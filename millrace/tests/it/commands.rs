//! The commands beside `up`, against a running program and without one.

use crate::program::{INSTRUMENTS, Place};

pub(crate) fn stdout(output: &std::process::Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn prices_form_and_survive_backup_restart_and_restore() {
    let place = Place::new("");
    let running = place.up();
    for name in INSTRUMENTS {
        running.wait_for(&format!("/prices/{name}"), |text| text.contains("\"status\":\"OK\""));
    }
    running.wait_for("/healthz", |text| text.starts_with("{\"status\":\"ok\""));
    let tailed = stdout(&place.run(&["tail", "prices", "--from", "start", "--limit", "3"]));
    assert_eq!(tailed.lines().count(), 3, "{tailed}");
    assert!(tailed.lines().all(|line| line.contains("\"topic\":\"prices\"")), "{tailed}");
    let doctor = stdout(&place.run(&["doctor"]));
    assert!(doctor.contains("ok    program    runs") && !doctor.contains("FAIL"), "{doctor}");
    let backup = stdout(&place.run(&["backup", "saved"]));
    assert!(backup.contains("checked the copy"), "{backup}");
    assert!(running.interrupt(), "Ctrl-C ends it cleanly");

    // Without the program the log is read directly, and what was there is there.
    let again = stdout(&place.run(&["tail", "prices", "--from", "start", "--no-follow", "--limit", "3"]));
    assert_eq!(again, tailed);
    // A disk that is busy with something else fails its line, and rightly so.
    let doctor = place.run(&["doctor"]).stdout;
    let doctor = String::from_utf8_lossy(&doctor);
    assert!(doctor.contains("does not run") && doctor.contains("ok    log"), "{doctor}");
    let failed = |line: &str| line.starts_with("FAIL") && !line.starts_with("FAIL  disk");
    assert!(!doctor.lines().any(failed), "{doctor}");
    let refused = place.run(&["restore", "saved"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("holds a log already"));
    std::fs::rename(place.path("data"), place.path("moved")).unwrap();
    stdout(&place.run(&["restore", "saved"]));
    let restored = stdout(&place.run(&["tail", "prices", "--from", "start", "--no-follow", "--limit", "3"]));
    assert_eq!(restored, tailed);
    let running = place.up();
    running.wait_for("/prices/BTCUSDT", |text| text.contains("\"status\":\"OK\""));
    assert!(running.interrupt());
}

#[test]
fn it_works_and_stops_when_nobody_hears_what_it_says() {
    let place = Place::new("");
    let running = place.up_unheard();
    running.wait_for("/prices", |text| text.contains("BTCUSDT"));
    assert!(running.interrupt(), "it ends in good order");
}

#[test]
fn a_capture_replays_through_the_whole_pipeline() {
    let captures =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures/binance-spot-2024-08-08");
    let file = captures.join("btcusdt_20240808.gz");
    if !file.is_file() {
        println!("NOT RUN: there is no capture {}", file.display());
        return;
    }
    let place = Place::new("");
    let said = stdout(&place.run(&["replay", file.to_str().unwrap(), "--data-dir", "replayed"]));
    assert!(said.contains("0 refused, 0 gaps"), "{said}");
    let trades = trades_in(&file);
    let ticks = count(&place, "ticks", |line| line.contains("\"kind\":\"trade\"") || line.contains("\"trade\""));
    assert_eq!(ticks, trades, "each trade frame is one trade in `ticks`");
    assert!(count(&place, "prices", |_| true) > 0);
}

fn trades_in(file: &std::path::Path) -> usize {
    let unpacked = std::process::Command::new("gzip").arg("-dc").arg(file).output().unwrap();
    String::from_utf8_lossy(&unpacked.stdout).lines().filter(|line| line.contains("\"e\":\"trade\"")).count()
}

/// Records of a topic of the replay, by the command that reads them.
fn count(place: &Place, topic: &str, counts: impl Fn(&str) -> bool) -> usize {
    let file = std::fs::read_to_string(place.path("pipeline.yaml")).unwrap();
    std::fs::write(place.path("replayed.yaml"), file.replace("./data", "./replayed")).unwrap();
    let tailed = place.run(&["tail", topic, "--from", "start", "--no-follow", "--file", "replayed.yaml"]);
    stdout(&tailed).lines().filter(|line| counts(line)).count()
}
