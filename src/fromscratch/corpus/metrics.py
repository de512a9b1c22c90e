"""What is measured of each document, in the order of the columns: name and definition."""

__all__ = ["METRICS", "METRIC_NAMES"]

METRICS: dict[str, str] = {
    "characters": "Unicode code points",
    "words": "runs between white space, in which each Han character is a word of its own",
    "mean_word_characters": "characters of all words by number of words",
    "symbol_word_ratio": "number signs and ellipses by number of words (Gopher)",
    "alphabetic_word_share": "words with at least one letter (Gopher)",
    "stop_words": "how many of the, be, to, of, and, that, have, with occur (Gopher)",
    "letter_share": "letters, Han characters among them, by characters other than white space",
    "digit_share": "decimal digits by characters other than white space",
    "alphanumeric_share": "letters and digits by all characters (StarCoder)",
    "kana_share": "kana by letters",
    "common_han_share": "Han characters in the first level of GB 2312 or Big5 by Han characters; 1 without any",
    "garbled_share": "U+FFFD, control, private and unassigned characters and UTF-8 read as Latin-1, by characters",
    "url_share": "characters inside addresses that begin with http:// or https:// or www., by characters",
    "curly_braces": "number of { and } (C4)",
    "lorem_ipsum": "occurrences of “lorem ipsum” in any case (C4)",
    "lines": "lines that hold more than white space",
    "mean_line_characters": "characters of these lines, stripped, by their number",
    "max_line_characters": "characters of the longest of them",
    "short_line_share": "lines of at most 30 characters by lines (FineWeb)",
    "punctuated_line_share": "lines that end a sentence by lines (C4, FineWeb)",
    "ellipsis_line_share": "lines that end in an ellipsis by lines (Gopher)",
    "bullet_line_share": "lines that begin with a bullet by lines (Gopher)",
    "encoded_line_share": "characters of lines that hold encoded data by characters of lines (StarCoder 2)",
    "duplicate_line_share": "lines seen before by lines (Gopher)",
    "duplicate_line_character_share": "characters of lines seen before by characters (Gopher, FineWeb)",
    "duplicate_paragraph_share": "paragraphs seen before by paragraphs (Gopher)",
    "duplicate_paragraph_character_share": "characters of paragraphs seen before by characters (Gopher)",
    "top_2_gram_share": "characters in the word 2-gram that covers most, if it occurs twice, by characters (Gopher)",
    "top_3_gram_share": "the same of word 3-grams",
    "top_4_gram_share": "the same of word 4-grams",
    "duplicate_5_gram_share": "characters of words in 5-grams seen before, each once, by characters (Gopher)",
    "duplicate_6_gram_share": "the same of 6-grams",
    "duplicate_7_gram_share": "the same of 7-grams",
    "duplicate_8_gram_share": "the same of 8-grams",
    "duplicate_9_gram_share": "the same of 9-grams",
    "duplicate_10_gram_share": "the same of 10-grams",
}

METRIC_NAMES = tuple(METRICS)
