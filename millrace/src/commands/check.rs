//! `millrace check`: every mistake of a file at once.

use std::path::Path;

use crate::config::Pipeline;

/// Reads the file and says what it would run.
///
/// # Errors
/// When the file cannot be read, or with all its mistakes.
pub(crate) fn run(file: &Path) -> anyhow::Result<()> {
    let pipeline = Pipeline::load(file)?;
    let sources: Vec<&str> = pipeline.sources.iter().map(|source| source.venue.as_str()).collect();
    println!(
        "{} is sound: {} instruments from {}",
        file.display(),
        pipeline.instruments.len(),
        if sources.is_empty() { "no sources".to_owned() } else { sources.join(", ") },
    );
    Ok(())
}
