"""What is measured of each document: the columns and their definitions, with the paper that a metric comes from.

Gopher is Rae et al. 2021 (arXiv 2112.11446), appendix A.1; C4 is Raffel et al. 2019 (1910.10683), section 2.2;
FineWeb is Penedo et al. 2024 (2406.17557), section 3.6; StarCoder is Li et al. 2023 (2305.06161), section 3.1;
StarCoder 2 is Lozhkov et al. 2024 (2402.19173), section 3.1. A line is counted when it holds more than white space,
and is taken without the white space around it.
"""

from enum import IntEnum

__all__ = ["METRIC_NAMES", "Metric"]


class Metric(IntEnum):
    """Position of each metric in a row of measurements."""

    CHARACTERS = 0  # Unicode code points
    WORDS = 1  # runs between white space, in which each Han character is a word with the punctuation beside it
    MEAN_WORD_CHARACTERS = 2  # characters of all words by words (Gopher)
    SYMBOL_WORD_RATIO = 3  # number signs, or ellipses if there are more of them, by words (Gopher)
    ALPHABETIC_WORD_SHARE = 4  # words with at least one letter by words (Gopher)
    STOP_WORDS = 5  # how many of the, be, to, of, and, that, have, with occur (Gopher)
    HAN_SHARE = 6  # Han characters by letters, Han characters among them
    KANA_SHARE = 7  # kana by letters
    COMMON_HAN_SHARE = 8  # Han characters of the first level of GB 2312 or Big5 by Han characters; 1 without any
    LETTER_SHARE = 9  # letters by characters other than white space
    DIGIT_SHARE = 10  # decimal digits by characters other than white space
    ALPHANUMERIC_SHARE = 11  # letters and digits by characters (StarCoder)
    CODE_SYMBOL_SHARE = 12  # any of # $ % & ( ) * + / ; < = > @ [ \ ] ^ _ { | } ~ by characters other than white space
    GARBLED_SHARE = 13  # U+FFFD, control and private characters, and UTF-8 read as Latin-1, by characters
    URL_SHARE = 14  # characters of addresses that begin with http://, https:// or www. by characters
    CURLY_BRACES = 15  # number of { and } (C4)
    LOREM_IPSUM = 16  # occurrences of “lorem ipsum” in any case (C4)
    LINES = 17  # number of lines
    MEAN_LINE_CHARACTERS = 18  # characters of lines by lines (StarCoder)
    MAX_LINE_CHARACTERS = 19  # characters of the longest line (StarCoder)
    SHORT_LINE_SHARE = 20  # lines of at most 30 characters by lines (FineWeb)
    PUNCTUATED_LINE_SHARE = 21  # lines that end like a sentence by lines (C4, FineWeb)
    ELLIPSIS_LINE_SHARE = 22  # lines that end with an ellipsis by lines (Gopher)
    BULLET_LINE_SHARE = 23  # lines that begin with a bullet by lines (Gopher)
    ENCODED_LINE_SHARE = 24  # characters of lines that hold encoded data by characters of lines (StarCoder 2)
    DUPLICATE_LINE_SHARE = 25  # lines seen before by lines (Gopher)
    DUPLICATE_LINE_CHARACTER_SHARE = 26  # characters of lines seen before by characters (Gopher, FineWeb)
    DUPLICATE_PARAGRAPH_SHARE = 27  # paragraphs, which empty lines part, seen before by paragraphs (Gopher)
    DUPLICATE_PARAGRAPH_CHARACTER_SHARE = 28  # characters of paragraphs seen before by characters (Gopher)
    TOP_2_GRAM_SHARE = 29  # characters within the most frequent word 2-gram, if it comes twice, by characters (Gopher)
    TOP_3_GRAM_SHARE = 30  # the same of 3-grams
    TOP_4_GRAM_SHARE = 31  # the same of 4-grams
    DUPLICATE_5_GRAM_SHARE = 32  # characters of words in 5-grams seen before, each once, by characters (Gopher)
    DUPLICATE_6_GRAM_SHARE = 33  # the same of 6-grams
    DUPLICATE_7_GRAM_SHARE = 34  # the same of 7-grams
    DUPLICATE_8_GRAM_SHARE = 35  # the same of 8-grams
    DUPLICATE_9_GRAM_SHARE = 36  # the same of 9-grams
    DUPLICATE_10_GRAM_SHARE = 37  # the same of 10-grams
    WORDS_PER_SENTENCE = (
        38  # words by one more than the number of sentence ends: runs of . ! ? 。 ！ ？ … and the like,
    )
    # in which one is not ASCII, or after which comes white space, a Han character or nothing
    MENU_SHARE = 39  # characters of 5 or more lines on end, of at most 30 characters each and without the end of a
    # sentence, by characters of lines


METRIC_NAMES = tuple(metric.name.lower() for metric in Metric)
