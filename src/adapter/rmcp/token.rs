//! Random names that nobody guesses.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// 128 random bits, 32 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Token(pub(super) u128);

const DIGITS: usize = 32;

impl Token {
    pub(super) fn draw() -> Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|why| Error::with_source(ErrorKind::Backend, why))?;
        Ok(Self(u128::from_le_bytes(bytes)))
    }

    /// The token of exactly this text; `None` for what cannot be one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_token = text.len() == DIGITS
            && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        is_token.then(|| u128::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_text_and_nothing_else_is() {
        let token = Token::draw().expect("random bits");
        let text = token.to_string();
        assert!(Token::parse(&text) == Some(token));
        assert!(Token::parse(&Token(1).to_string()) == Some(Token(1)));
        let upper = format!("{:032X}", u128::MAX);
        for other in ["", "0", &text[1..], &format!("{text}0"), &upper, &"+".repeat(32)] {
            assert!(Token::parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn no_two_are_alike() {
        let all: std::collections::HashSet<u128> =
            (0..1000).map(|_| Token::draw().expect("random bits").0).collect();
        assert_eq!(all.len(), 1000);
    }
}
