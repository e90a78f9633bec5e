//! How large a statement is, before anything recursive looks at it.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::DIALECT;
use crate::error::{ErrorKind, SqlError};
use crate::limits::Limits;

/// Refuses a statement that is too long, too deep or has too many terms.
///
/// The tokens are enough to tell: every level of a tree that a parser builds needs a parenthesis or an operator.
pub(super) fn check(sql: &str, limits: &Limits) -> Result<(), SqlError> {
    if sql.len() > limits.statement_bytes_max {
        let message =
            format!("a statement of {} bytes is not allowed: at most {}", sql.len(), limits.statement_bytes_max);
        return Err(SqlError::limit(message));
    }
    let tokens = Tokenizer::new(&DIALECT, sql).tokenize_with_location().map_err(|error| {
        SqlError::new(ErrorKind::Syntax, error.message.clone()).at(error.location.line, error.location.column)
    })?;
    let (mut depth, mut terms) = (0_usize, 0_usize);
    for token in &tokens {
        let place = token.span.start;
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                depth += 1;
                if depth > limits.depth_max {
                    let message = format!("nesting deeper than {} levels is not allowed", limits.depth_max);
                    return Err(SqlError::limit(message).at(place.line, place.column));
                }
            }
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            token if is_term(token) => {
                terms += 1;
                if terms > limits.terms_max {
                    let message = format!("more than {} operators in a statement are not allowed", limits.terms_max);
                    return Err(SqlError::limit(message).at(place.line, place.column));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a token makes the tree grow.
fn is_term(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::XOR
                | Keyword::UNION
                | Keyword::INTERSECT
                | Keyword::EXCEPT
                | Keyword::JOIN
                | Keyword::CASE
                | Keyword::IS
                | Keyword::LIKE
                | Keyword::BETWEEN
                | Keyword::SELECT
                | Keyword::COLLATE
        ),
        Token::Whitespace(_)
        | Token::Comma
        | Token::Period
        | Token::SemiColon
        | Token::EOF
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::Placeholder(_)
        | Token::LParen
        | Token::RParen
        | Token::LBracket
        | Token::RBracket
        | Token::LBrace
        | Token::RBrace => false,
        _ => true,
    }
}

/// Whether the first word of a statement is `word`, in any case.
pub(super) fn starts_with(sql: &str, word: &str) -> bool {
    let Ok(tokens) = Tokenizer::new(&DIALECT, sql).tokenize() else { return false };
    let first = tokens.into_iter().find(|token| !matches!(token, Token::Whitespace(_)));
    matches!(first, Some(Token::Word(first)) if first.value.eq_ignore_ascii_case(word) && first.quote_style.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_and_terms_are_counted_without_recursion() {
        let limits = Limits::default();
        let terms = |count: usize| format!("SELECT {}", vec!["1"; count].join("+"));
        assert!(check(&terms(500), &limits).is_ok());
        assert!(check(&terms(2_000), &limits).expect_err("too many").message.contains("operators"));
        let deep = |count: usize| format!("SELECT {}1{}", "(".repeat(count), ")".repeat(count));
        assert!(check(&deep(20), &limits).is_ok());
        let error = check(&deep(20_000), &limits).expect_err("too deep");
        assert!(error.message.contains("nesting deeper"), "{error}");
        assert!(error.position.is_some());
        assert!(check(&"x".repeat(70_000), &limits).is_err());
        assert!(check("SELECT 'open", &limits).expect_err("no end").position.is_some());
    }

    #[test]
    fn the_first_word_is_found_behind_comments() {
        assert!(starts_with(" -- hello\n /* there */ copy (select 1) to stdout", "COPY"));
        assert!(!starts_with("SELECT copy", "COPY"));
        assert!(!starts_with("\"copy\"", "COPY"));
    }
}
