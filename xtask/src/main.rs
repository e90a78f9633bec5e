//! What a developer runs: `cargo xtask setup | test | bench | lint | ci`.

mod arrows;
mod bench;
mod checks;
mod setup;
mod shell;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask COMMAND

  setup                installs what the tests need and this machine lacks (Debian packages as root or sudo; Python's into target/)
  test [CRATE...]      setup, formatting, lints, then every test; with crates: only their tests
  lint                 formatting and lints, warnings denied
  bench [NAME [ARGS]]  prints the machine, then runs one benchmark in release; without a name lists them
  ci                   what continuous integration runs: the same as test
";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["setup"] => setup::run(),
        ["test" | "ci"] => {
            setup::run()?;
            checks::lint()?;
            checks::test(&[])
        }
        ["test", crates @ ..] => {
            setup::run()?;
            checks::test(crates)
        }
        ["lint"] => checks::lint(),
        ["bench"] => bench::list(),
        ["bench", name, rest @ ..] => bench::run(name, rest),
        ["help" | "--help" | "-h"] | [] => {
            print!("{HELP}");
            Ok(())
        }
        _ => bail!("{words:?} is not known\n\n{HELP}"),
    }
}
