//! Installs what the tests need. Nothing is needed to run the program itself.

use anyhow::{Result, bail};

use crate::shell;

/// A program that tests start, the Debian package that has it, and what for.
struct Need {
    program: &'static str,
    package: &'static str,
    why: &'static str,
}

const NEEDS: [Need; 3] = [
    Need { program: "redis-server", package: "redis-server", why: "the Redis cache, killed and restarted mid-run" },
    Need { program: "chromium", package: "chromium", why: "the live page in a real browser" },
    Need { program: "chromedriver", package: "chromium-driver", why: "drives that browser" },
];

/// Installs what is missing; says what is there.
pub(crate) fn run() -> Result<()> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !shell::has(need.program)).collect();
    if missing.is_empty() {
        println!("setup: nothing to install");
        return Ok(());
    }
    for need in &missing {
        println!("setup: {} is missing ({})", need.program, need.why);
    }
    if !shell::has("apt-get") {
        let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
        bail!("install {} with this system's package manager, then run again", packages.join(" "));
    }
    let root = shell::output("id", &["-u"])?.trim() == "0";
    let apt = |args: &[&str]| {
        if root { shell::run("apt-get", args) } else { shell::run("sudo", &[&["apt-get"], args].concat()) }
    };
    apt(&["update", "-qq"])?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(missing.iter().map(|need| need.package));
    apt(&install)
}
