//! Formatting, lints and tests.

use anyhow::Result;

use crate::shell;

/// Formatting and lints, warnings denied.
pub(crate) fn lint() -> Result<()> {
    let cargo = shell::cargo();
    shell::run(&cargo, &["fmt", "--all", "--check"])?;
    shell::run(&cargo, &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
}

/// Every test of the workspace, or of some crates.
pub(crate) fn test(crates: &[&str]) -> Result<()> {
    say_what_is_left_out();
    let mut args = vec!["test", "--locked", "--no-fail-fast"];
    if crates.is_empty() {
        args.push("--workspace");
    }
    for name in crates {
        args.extend(["-p", name]);
    }
    shell::run(&shell::cargo(), &args)
}

/// Tests that need what cannot be installed say so here, once, in one line each.
fn say_what_is_left_out() {
    if std::env::var_os("FLUVIO_SC").is_none() {
        println!("not run: the log's suite against a Fluvio cluster (set FLUVIO_SC=host:port to run it)");
    }
    let captures = shell::root().join("../shared/captures");
    if !captures.is_dir() {
        println!("not run: checks against recorded venue frames ({} is absent)", captures.display());
    }
}
