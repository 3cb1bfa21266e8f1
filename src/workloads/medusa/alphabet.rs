//! The model's tokens: 64 characters, one token each.

/// Token `t` is the character `SYMBOLS[t]`.
pub const SYMBOLS: &[u8; 64] = b"\n !'(),-.:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// How many tokens there are.
pub const VOCABULARY: usize = SYMBOLS.len();

/// The token of a character; `None` when the model has never seen it.
pub fn token(symbol: char) -> Option<u8> {
    SYMBOLS
        .iter()
        .position(|known| char::from(*known) == symbol)
        .map(|at| at as u8)
}

/// The tokens of a text, or the first character that is none.
pub fn tokens(text: &str) -> Result<Vec<u8>, char> {
    text.chars().map(|symbol| token(symbol).ok_or(symbol)).collect()
}

/// The text that tokens stand for.
pub fn text(tokens: &[u8]) -> String {
    tokens
        .iter()
        .map(|token| SYMBOLS.get(usize::from(*token)).copied().map_or('\u{FFFD}', char::from))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_symbol_is_a_token_and_comes_back() {
        for (at, symbol) in SYMBOLS.iter().enumerate() {
            assert_eq!(token(char::from(*symbol)), Some(at as u8));
        }
        let verse = "And God said, Let there be light: and there was light.\n";
        assert_eq!(text(&tokens(verse).unwrap()), verse);
        assert_eq!(tokens(""), Ok(Vec::new()));
    }

    #[test]
    fn a_character_that_is_no_token_is_named() {
        assert_eq!(tokens("anno 1611"), Err('1'));
        assert_eq!(tokens("caf\u{e9}"), Err('\u{e9}'));
        assert_eq!(text(&[64]), "\u{FFFD}");
    }
}
