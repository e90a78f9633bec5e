//! The folders are the architecture: a crate may only depend on what stands before it.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::shell;

    /// For each crate, the workspace crates that its normal dependencies may name.
    const MAY_USE: [(&str, &[&str]); 12] = [
        ("model", &[]),
        ("journal", &["model"]),
        ("ledger", &["model"]),
        ("ingest", &["model", "journal"]),
        ("aggregate", &["model", "journal"]),
        ("matcher", &["model", "journal", "ledger"]),
        ("sink", &["model", "journal"]),
        ("queries", &["model", "journal", "sink"]),
        ("api", &["model", "journal", "ledger", "ingest", "aggregate", "matcher", "sink", "queries"]),
        ("sim", &["model", "journal", "ledger", "ingest", "aggregate", "matcher", "sink", "queries", "api"]),
        (
            "millrace",
            &["model", "journal", "ledger", "ingest", "aggregate", "matcher", "sink", "queries", "api", "sim"],
        ),
        ("xtask", &[]),
    ];

    #[test]
    fn arrows_only_point_up() {
        let text = shell::output(&shell::cargo(), &["metadata", "--format-version", "1", "--no-deps", "--locked"])
            .expect("cargo metadata");
        let metadata: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let may_use: BTreeMap<&str, &[&str]> = MAY_USE.into_iter().collect();
        let packages = metadata["packages"].as_array().expect("packages");
        let mut wrong = Vec::new();
        for package in packages {
            let name = package["name"].as_str().expect("a name");
            let Some(allowed) = may_use.get(name) else {
                wrong.push(format!("{name} has no place in the list of folders"));
                continue;
            };
            for dependency in package["dependencies"].as_array().expect("dependencies") {
                let used = dependency["name"].as_str().expect("a name");
                let normal = dependency["kind"].is_null();
                if normal && may_use.contains_key(used) && !allowed.contains(&used) {
                    wrong.push(format!("{name} may not depend on {used}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!(packages.len(), may_use.len(), "a folder of the list is gone");
    }
}
