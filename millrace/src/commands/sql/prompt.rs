//! The prompt: statements over several lines, history, completion of names.

use std::borrow::Cow;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::{Door, Output};

/// What is completed beside the names of keywords.
pub(super) const NAMES: &str = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' \
                                UNION SELECT column_name FROM information_schema.columns WHERE table_schema = 'public'";
const WORDS: [&str; 34] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "LIMIT",
    "JOIN",
    "ASOF JOIN",
    "MATCH_CONDITION",
    "ON",
    "USING",
    "AND",
    "OR",
    "NOT",
    "AS",
    "DESC",
    "BETWEEN",
    "INTERVAL",
    "WITH",
    "EXPLAIN",
    "DESCRIBE",
    "SHOW TABLES",
    "count",
    "sum",
    "vwap",
    "ohlcv",
    "twap",
    "arg_max",
    "arg_min",
    "date_bin",
    "bars",
    "latest",
    "markout",
    "window_join",
];
const HISTORY_MAX: usize = 2_000;

/// The names in the first column of an answer.
pub(super) fn names_of(batches: Vec<RecordBatch>) -> anyhow::Result<Vec<String>> {
    let options = FormatOptions::new();
    let mut names = Vec::new();
    for batch in &batches {
        let column = ArrayFormatter::try_new(batch.column(0), &options)?;
        names.extend((0..batch.num_rows()).map(|row| column.value(row).to_string()));
    }
    Ok(names)
}

/// Reads statements and runs them until the end of input.
pub(super) async fn run(door: &Door, output: &Output) -> anyhow::Result<()> {
    let mut words = door.names().await;
    words.extend(WORDS.map(str::to_owned));
    words.sort();
    words.dedup();
    let config = Config::builder().max_history_size(HISTORY_MAX)?.completion_type(CompletionType::List).build();
    let mut editor: Editor<Assistant, FileHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(Assistant { words }));
    let history = history_file();
    if let Some(path) = &history {
        // The first time there is none.
        let _ = editor.load_history(path);
    }
    eprintln!("a statement ends with ; and Ctrl-D ends the prompt");
    loop {
        // Reading keys blocks; nothing else runs meanwhile.
        let line = tokio::task::block_in_place(|| editor.readline("millrace> "));
        let sql = match line {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        };
        let sql = sql.trim().trim_end_matches(';').trim();
        if sql.is_empty() {
            continue;
        }
        let _ = editor.add_history_entry(format!("{sql};"));
        if let Some(path) = &history {
            let _ = editor.save_history(path);
        }
        let started = std::time::Instant::now();
        let result = tokio::select! {
            done = door.run(sql, output) => done,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("stopped")),
        };
        match result {
            Ok(()) => eprintln!("{:.3} s", started.elapsed().as_secs_f64()),
            Err(error) => eprintln!("error: {error:#}"),
        }
    }
    Ok(())
}

fn history_file() -> Option<PathBuf> {
    let home = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")))?;
    let dir = home.join("millrace");
    std::fs::create_dir_all(&dir).ok()?;
    Some(dir.join("sql_history"))
}

/// Completes words and knows when a statement is whole.
struct Assistant {
    words: Vec<String>,
}

impl Helper for Assistant {}
impl Hinter for Assistant {
    type Hint = String;
}
impl Highlighter for Assistant {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _default: bool) -> Cow<'b, str> {
        Cow::Borrowed(prompt)
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input().trim();
        let whole = text.is_empty() || text.ends_with(';');
        Ok(if whole { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _context: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let start = line[..at].rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |found| found + 1);
        let begun = line[start..at].to_lowercase();
        if begun.is_empty() {
            return Ok((at, Vec::new()));
        }
        let found = self.words.iter().filter(|word| word.to_lowercase().starts_with(&begun)).cloned();
        Ok((start, found.collect()))
    }
}
