"""The privacy kernel: personal numbers and addresses, found by @ and digits and then verified, in one compiled pass.

Only what can be verified counts: by a checksum, by a numbering plan, or by a word such as 电话 in front. Numbers that
look alike must stay: versions, dates, ISBNs, timestamps, and addresses that standards reserve for documentation.
"""

import numpy as np
from numpy.typing import NDArray

from fromscratch.corpus.kernels.measure import Points, kernel

__all__ = [
    "ACCOUNT",
    "BANK_CARD",
    "EMAIL",
    "IP_ADDRESS",
    "KEY",
    "KINDS",
    "NATIONAL_ID",
    "PHONE",
    "find_private",
    "mask",
]

EMAIL, PHONE, NATIONAL_ID, IP_ADDRESS, BANK_CARD, ACCOUNT, KEY = range(7)
KINDS = 7
AT, DOT, DASH, PLUS, OPEN, CLOSE, COLON, COMMA, SLASH, SPACE, UNDERSCORE = (ord(each) for each in "@.-+():,/ _")
MOST_GROUPS, MOST_DIGITS = 6, 19
KEY_LETTERS = (0x70, 0x6F, 0x73, 0x75)  # p, o, s, u in ghp_ and its like
FULL_WIDTH_COMMA = 0xFF0C  # stands between numbers, never within one


def word_table(*words: str) -> NDArray[np.int32]:
    """[words, characters of the longest], filled up with 0; one constant compiles much sooner than many."""
    return np.array([[ord(each) for each in word.ljust(max(map(len, words)), "\0")] for word in words], np.int32)


# RFC 2606, and files that are named like addresses, such as icon@2x.png
NO_DOMAINS = word_table(
    "example.com", "example.org", "example.net", "example", "test", "invalid", "localhost", "png", "jpg", "gif", "svg",
    "js", "json", "jpeg", "webp", "tld",
)  # fmt: skip
PHONE_WORDS = word_table(
    "电话", "電話", "手机", "手機", "手机号", "手机号码", "电话号码", "热线", "传真", "座机", "tel", "phone", "mobile",
    "fax", "telephone", "whatsapp",
)  # fmt: skip
EXAMPLES = word_table("example")  # the end of keys in documentation
PROVINCES = np.array(
    [11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52, 53, 54, 61, 62, 63,
     64, 65, 71, 81, 82, 83]
)  # fmt: skip
ID_WEIGHTS = np.array([7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2])  # GB 11643
DAYS = np.array([31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


@kernel
def find_private(
    data: NDArray[np.uint8], offsets: NDArray[np.int64], is_code: NDArray[np.bool_], wanted: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """What is found, in order: int64[matches, (text, kind, first byte, byte after it)].

    ``wanted`` [KINDS] are the kinds to look for. In code only e-mail addresses, IP addresses and keys are looked for.
    """
    found = np.empty((64, 4), np.int64)
    count = 0
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        if not may_hold(data, start, end):
            continue
        points, places = decode_half_width(data, start, end)
        at = over = 0
        while at < len(points):
            kind, first, last = match_at(points, at, is_code[document])
            if kind < 0 or not wanted[kind] or first < over:
                at += 1
                continue
            if count == len(found):
                grown = np.empty((2 * count, 4), np.int64)
                grown[:count] = found
                found = grown
            found[count, 0], found[count, 1] = document, kind
            found[count, 2], found[count, 3] = places[first], places[last]
            count += 1
            at = over = last
    return found[:count]


@kernel
def mask(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    found: NDArray[np.int64],
    tokens: NDArray[np.uint8],
    token_begins: NDArray[np.int64],
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Texts, as UTF-8 and offsets, with a token of its kind in the place of each match."""
    longest = 0
    for kind in range(len(token_begins) - 1):
        longest = max(longest, token_begins[kind + 1] - token_begins[kind])
    out = np.empty(offsets[-1] - offsets[0] + len(found) * longest, np.uint8)
    out_offsets = np.zeros(len(offsets), np.int64)
    size = match = 0
    for document in range(len(offsets) - 1):
        at, end = offsets[document], offsets[document + 1]
        while at < end:
            if match < len(found) and found[match, 2] == at:
                for token in range(token_begins[found[match, 1]], token_begins[found[match, 1] + 1]):
                    out[size] = tokens[token]
                    size += 1
                at = found[match, 3]
                match += 1
            else:
                out[size] = data[at]
                size += 1
                at += 1
        out_offsets[document + 1] = size
    return out[:size], out_offsets


@kernel
def may_hold(data: NDArray[np.uint8], start: int, end: int) -> bool:
    """Whether there is an @, five digits, a full-width form, or the beginning of a key; most texts have none."""
    digits = 0
    before = 0
    for at in range(start, end):
        byte = data[at]
        digits += 0x30 <= byte <= 0x39
        key = (byte == 0x49 and before in (0x4B, 0x53, 0x41)) or (byte == UNDERSCORE and before in KEY_LETTERS)
        if byte == AT or byte == 0xEF or digits >= 5 or key:
            return True
        before = byte
    return False


@kernel
def decode_half_width(data: NDArray[np.uint8], start: int, end: int) -> tuple[Points, NDArray[np.int64]]:
    """Code points, of which full-width forms become ASCII, and the byte where each begins (points + 1)."""
    points, places = np.empty(end - start, np.int32), np.empty(end - start + 1, np.int64)
    count, at = 0, start
    while at < end:
        places[count] = at
        point = int(data[at])
        width = 1 if point < 0x80 else 2 if point < 0xE0 else 3 if point < 0xF0 else 4
        if width > 1:
            point &= 0xFF >> (width + 1)
            for follower in range(at + 1, at + width):
                point = (point << 6) | (int(data[follower]) & 0x3F)
            if 0xFF01 <= point <= 0xFF5E and point != FULL_WIDTH_COMMA:
                point -= 0xFEE0
        points[count] = point
        count += 1
        at += width
    places[count] = end
    return points[:count], places[: count + 1]


@kernel
def match_at(points: Points, at: int, is_code: bool) -> tuple[int, int, int]:
    """Kind, start and end of what begins here, or a kind of -1; an e-mail address is noticed at its @."""
    point = points[at]
    if is_digit(point):
        if at and is_digit(points[at - 1]):
            return -1, at, at
        return match_number(points, at, is_code)
    if point == AT:
        return match_email(points, at)
    if is_hexadecimal(point) or point > 0x7F or point in (PLUS, OPEN, 0x51, 0x71, 0x67):  # Q, q, g
        if point in (PLUS, OPEN):
            return (-1, at, at) if is_code else match_number(points, at, is_code)
        if point in (0x41, 0x67):  # A, g
            last = end_of_key(points, at)
            if last:
                return KEY, at, last
        if not is_code and (point in (0x51, 0x71) or point > 0x7F):
            return match_account(points, at)
    return -1, at, at


@kernel
def is_digit(point: int) -> bool:
    return 0x30 <= point <= 0x39


@kernel
def is_letter(point: int) -> bool:
    return 0x41 <= (point & ~0x20) <= 0x5A


@kernel
def is_alphanumeric(point: int) -> bool:
    return is_digit(point) or is_letter(point)


@kernel
def is_hexadecimal(point: int) -> bool:
    return is_digit(point) or 0x41 <= (point & ~0x20) <= 0x46


@kernel
def ends_with(points: Points, end: int, words: NDArray[np.int32]) -> int:
    """How many characters the word has with which points[:end] ends, whatever the case, or 0; Latin words are whole."""
    for word in words:
        length = 0
        while length < len(word) and word[length]:
            length += 1
        same = 0
        while same < length and same < end:
            point = points[end - 1 - same]
            if (point | 0x20 if is_letter(point) else point) != word[length - 1 - same]:
                break
            same += 1
        if same == length and not (is_letter(word[0]) and end > length and is_letter(points[end - length - 1])):
            return length
    return 0


@kernel
def match_email(points: Points, at: int) -> tuple[int, int, int]:
    """An address around the @ (RFC 5322's dot-atom), save those that RFC 2606 reserves, and save repositories."""
    none = -1, at, at
    start = at
    while start and (is_alphanumeric(points[start - 1]) or points[start - 1] in (DOT, DASH, PLUS, UNDERSCORE, 0x25)):
        start -= 1
    while start < at and points[start] in (DOT, DASH, PLUS):
        start += 1
    if start == at or points[at - 1] == DOT or (start and points[start - 1] in (AT, SLASH)):
        return none
    last = label = at + 1  # where the domain ends, where its last label begins
    end = last
    while end < len(points) and (is_alphanumeric(points[end]) or points[end] in (DOT, DASH)):
        if points[end] == DOT:
            if end == label:
                return none
            if not (end + 1 < len(points) and is_alphanumeric(points[end + 1])):
                break
            label = end + 1
        end += 1
    last = end
    while last > label and points[last - 1] == DASH:
        last -= 1
    if label == at + 1 or last - label < 2:
        return none
    for place in range(label, last):
        if not is_letter(points[place]):
            return none
    if ends_with(points, last, NO_DOMAINS):
        return none
    if last < len(points) and points[last] == COLON and at - start == 3 and points[start] == 0x67:  # git@host:path
        return none
    return EMAIL, start, last


@kernel
def match_number(points: Points, at: int, is_code: bool) -> tuple[int, int, int]:
    """The first reading of the number here that can be verified."""
    none = -1, at, at
    point = points[at]
    before = points[at - 1] if at else SPACE
    second = points[at - 2] if at > 1 else SPACE
    if before in (DOT, UNDERSCORE, 0x23, 0x24, 0xA5, 0x26, 0x25) or is_alphanumeric(before):  # # $ ¥ & %
        return none
    if (before in (COMMA, COLON) and is_digit(second)) or (before == DASH and is_alphanumeric(second)):
        return none
    if is_digit(point):
        last = end_of_ipv4(points, at)
        if last:
            return IP_ADDRESS, at, last
        last = end_of_ipv6(points, at)
        if last:
            return IP_ADDRESS, at, last
    if is_code or (before == SLASH and not is_digit(second)):
        return none
    digits, lengths, ends, separators = read_groups(points, at)
    last = end_of_national_id(points, digits, lengths, ends, separators)
    if last:
        return NATIONAL_ID, at, last
    last = end_of_phone(points, at, digits, lengths, ends, separators)
    if last:
        return PHONE, at, last
    last = end_of_bank_card(points, digits, lengths, ends, separators)
    if last:
        return BANK_CARD, at, last
    return none


@kernel
def read_groups(
    points: Points, at: int
) -> tuple[NDArray[np.int8], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Digits of the number that begins here, lengths and ends of its groups, and what stands before each group.

    Groups are parted by one dash, point or space, or by parentheses. A + or ( before the first group is its separator.
    """
    digits = np.zeros(MOST_DIGITS + 1, np.int8)
    lengths, ends = np.zeros(MOST_GROUPS, np.int32), np.zeros(MOST_GROUPS, np.int32)
    separators = np.zeros(MOST_GROUPS, np.int32)
    groups = count = 0
    while groups < MOST_GROUPS and count < MOST_DIGITS:
        begin = at
        if begin < len(points) and points[begin] in (PLUS, DASH, DOT, SPACE, OPEN, CLOSE):
            separators[groups] = points[begin]
            begin += 1
            if begin < len(points) and points[begin - 1] != points[begin] and points[begin] in (SPACE, OPEN, DASH):
                if separators[groups] == SPACE:
                    separators[groups] = points[begin]
                begin += 1
        end = begin
        while end < len(points) and is_digit(points[end]) and count < MOST_DIGITS + 1:
            digits[count] = points[end] - 0x30
            count += 1
            end += 1
        if end == begin or (groups and separators[groups] == 0):
            break
        lengths[groups], ends[groups] = end - begin, end
        groups += 1
        at = end
    return digits, lengths[:groups], ends[:groups], separators[:groups]


@kernel
def is_over(points: Points, end: int) -> bool:
    """Whether a number that ends here is not the beginning of a longer one, of a word, or of a decimal."""
    if end >= len(points):
        return True
    point = points[end]
    if is_alphanumeric(point) or point in (UNDERSCORE, 0x25, AT):
        return False
    if end + 1 == len(points):
        return True
    after = points[end + 1]
    return not (
        (point in (DOT, DASH, COMMA, COLON) and is_alphanumeric(after)) or (point == SLASH and is_letter(after))
    )


@kernel
def is_shape(lengths: NDArray[np.int32], first: int, second: int, third: int) -> bool:
    """Whether the first groups have these lengths; 0 asks for no group."""
    return (
        len(lengths) >= 1 + (second > 0) + (third > 0)
        and lengths[0] == first
        and (not second or lengths[1] == second)
        and (not third or lengths[2] == third)
    )


@kernel
def value_of(digits: NDArray[np.int8], start: int, end: int) -> int:
    value = 0
    for at in range(start, end):
        value = 10 * value + digits[at]
    return value


@kernel
def end_of_national_id(
    points: Points,
    digits: NDArray[np.int8],
    lengths: NDArray[np.int32],
    ends: NDArray[np.int32],
    separators: NDArray[np.int32],
) -> int:
    """18 digits with a date and a check digit (GB 11643), or a US number by the rules of its issuer; 0 for neither."""
    if not len(lengths) or separators[0]:
        return 0
    end = ends[0]
    crossed = end < len(points) and (points[end] | 0x20) == 0x78  # X for 10
    if lengths[0] == 18 - crossed and lengths[0] >= 17:
        year, month, day = value_of(digits, 6, 10), value_of(digits, 10, 12), value_of(digits, 12, 14)
        known = False
        for province in PROVINCES:
            known = known or province == value_of(digits, 0, 2)
        if known and 1900 <= year <= 2030 and 1 <= month <= 12 and 1 <= day <= DAYS[month - 1]:
            total = 10 if crossed else digits[17]
            for place in range(17):
                total += ID_WEIGHTS[place] * digits[place]
            if total % 11 == 1 and is_over(points, end + crossed):
                return int(end + crossed)
    if is_shape(lengths, 3, 2, 4) and separators[1] == DASH and separators[2] == DASH and is_over(points, ends[2]):
        area, group, serial = value_of(digits, 0, 3), value_of(digits, 3, 5), value_of(digits, 5, 9)
        invented = (area == 123 and group == 45) or (area == 78 and group == 5 and serial == 1120)
        if 0 < area < 900 and area != 666 and group and serial and not invented:
            return int(ends[2])
    return 0


@kernel
def end_of_phone(
    points: Points,
    at: int,
    digits: NDArray[np.int8],
    lengths: NDArray[np.int32],
    ends: NDArray[np.int32],
    separators: NDArray[np.int32],
) -> int:
    """A telephone number by its country's plan, by a +, or by the word in front; 0 where it is none."""
    if not len(lengths):
        return 0
    if separators[0] == PLUS:
        fiction = digits[0] == 1 and (value_of(digits, 1, 4) == 555 or value_of(digits, 4, 7) == 555)
        return 0 if fiction else end_of_international(points, lengths, ends, separators)
    second = value_of(digits, 1, 2)
    last = 0
    if digits[0] == 1 and second >= 3 and separators[0] == 0:  # a mobile number in China
        if is_shape(lengths, 11, 0, 0):
            last = ends[0]
        elif is_shape(lengths, 3, 4, 4) and separators[1] == separators[2] and separators[1] in (DASH, SPACE):
            last = ends[2]
    elif digits[0] == 0 and second and is_shape(lengths, 3 + (second > 2), 0, 0) and len(lengths) > 1:  # an area there
        if separators[1] in (DASH, CLOSE) and 7 <= lengths[1] <= 8 and digits[lengths[0]] > 1:
            extended = len(lengths) > 2 and separators[2] == DASH and lengths[2] <= 5
            last = ends[2] if extended else ends[1]
    elif is_shape(lengths, 3, 3, 4) and digits[0] > 1 and digits[3] > 1:  # North America
        enclosed = separators[0] == OPEN and separators[1] == CLOSE and separators[2] in (DASH, DOT, SPACE)
        joined = separators[0] == 0 and separators[1] == separators[2] and separators[1] in (DASH, DOT)
        if (enclosed or joined) and value_of(digits, 0, 3) != 555 and value_of(digits, 3, 6) != 555:  # 555 is fiction
            last = ends[2]
    if last and is_over(points, last) and varies(digits, 7 if digits[0] == 1 else 3):
        return int(last)
    if follows_phone_word(points, at):
        total = 0
        for group in range(len(lengths)):
            total += lengths[group]
            if 7 <= total <= 12 and is_over(points, ends[group]) and lengths[group] > 2:
                last = ends[group]
        return int(last) if varies(digits, 3) else 0
    return 0


@kernel
def end_of_international(
    points: Points, lengths: NDArray[np.int32], ends: NDArray[np.int32], separators: NDArray[np.int32]
) -> int:
    """+, a country, and 8 to 15 digits in all (E.164), either in groups or ten at least in one."""
    total = last = 0
    for group in range(len(lengths)):
        total += lengths[group]
        if (group and lengths[group] > 11) or (group and separators[group] == DOT and lengths[0] > 3):
            return 0
        if 8 <= total <= 15 and is_over(points, ends[group]) and (group or total >= 10):
            last = ends[group]
    return int(last)


@kernel
def varies(digits: NDArray[np.int8], since: int) -> bool:
    """Whether the digits after the first few are not all the same, as they are in placeholders."""
    return bool(digits[since] != digits[since + 1] or digits[since] != digits[since + 2])


@kernel
def follows_phone_word(points: Points, at: int) -> bool:
    """Whether 电话 is before the number, or Tel with a colon after it."""
    end, colon = at, False
    while end and at - end < 4 and points[end - 1] in (COLON, SPACE, DOT, 0x3000, OPEN):
        end -= 1
        colon = colon or points[end] == COLON
    length = ends_with(points, end, PHONE_WORDS)
    return length > 0 and (colon or not is_letter(points[end - 1]))


@kernel
def end_of_bank_card(
    points: Points,
    digits: NDArray[np.int8],
    lengths: NDArray[np.int32],
    ends: NDArray[np.int32],
    separators: NDArray[np.int32],
) -> int:
    """A number of an issuer's range and length (ISO/IEC 7812) whose check digit is right (Luhn), or 0."""
    if not len(lengths) or separators[0]:
        return 0
    count, last = int(lengths[0]), int(ends[0])
    if count == 4:
        group = 1
        while group < len(lengths) and separators[group] == separators[1] and separators[1] in (DASH, SPACE):
            count += lengths[group]
            last = ends[group]
            if lengths[group] != 4:
                break
            group += 1
    if not 14 <= count <= 19 or not is_over(points, last):
        return 0
    two, four = value_of(digits, 0, 2), value_of(digits, 0, 4)
    issued = (digits[0] == 4 and count == 16) or (two == 62 and count >= 16)
    issued = issued or ((51 <= two <= 55 or 2221 <= four <= 2720) and count == 16)
    issued = issued or ((two == 34 or two == 37) and count == 15)
    issued = issued or ((four == 6011 or two == 65 or 3528 <= four <= 3589) and count == 16)
    total = seen = 0
    for place in range(count):
        digit = int(digits[count - 1 - place])
        seen |= 1 << digit
        digit *= 1 + place % 2
        total += digit - 9 * (digit > 9)
    different = 0
    for digit in range(10):
        different += (seen >> digit) & 1
    return last if issued and total % 10 == 0 and different > 4 else 0  # fewer: a number for tests, such as 4242…


@kernel
def end_of_ipv4(points: Points, at: int) -> int:
    """Four octets of a public address, one of them above 99, as hardly any version has; 0 for anything else."""
    octets = np.zeros(4, np.int64)
    place = at
    largest = 0
    for number in range(4):
        begin = place
        while place < len(points) and is_digit(points[place]) and place - begin < 3:
            octets[number] = 10 * octets[number] + points[place] - 0x30
            place += 1
        if place == begin or octets[number] > 255 or (place - begin > 1 and points[begin] == 0x30):
            return 0
        largest = max(largest, octets[number])
        if number < 3:
            if place >= len(points) or points[place] != DOT:
                return 0
            place += 1
    in_url = at > 1 and points[at - 1] == SLASH and points[at - 2] == SLASH
    if at and points[at - 1] == SLASH and not in_url:  # Agent/12.0.0.110
        return 0
    a, b, c = octets[0], octets[1], octets[2]
    ordinary = 0 < a < 224 and a not in (10, 127) and octets[3] > 0 and largest > 99
    local = (a == 100 and 64 <= b < 128) or (a == 169 and b == 254) or (a == 172 and 16 <= b < 32)
    local = local or (a == 192 and (b == 168 or (b == 0 and c in (0, 2)))) or (a == 198 and 18 <= b < 20)
    documented = (a == 198 and b == 51 and c == 100) or (a == 203 and b == 0 and c == 113)  # RFC 5737
    if not ordinary or local or documented:
        return 0
    joined = place < len(points) and (is_alphanumeric(points[place]) or points[place] in (SLASH, UNDERSCORE, DASH))
    more = place + 1 < len(points) and points[place] == DOT and is_alphanumeric(points[place + 1])
    return 0 if more or (joined and not in_url) else place


@kernel
def end_of_ipv6(points: Points, at: int) -> int:
    """Eight groups, or fewer around ::, within 2000::/3 and outside 2001:db8::/32 (RFC 4291, RFC 3849); else 0."""
    if points[at] not in (0x32, 0x33):
        return 0
    place, groups, gaps, second = at, 0, 0, 0
    while groups < 8:
        begin, value = place, 0
        while place < len(points) and is_hexadecimal(points[place]) and place - begin < 5:
            value = 16 * value + (points[place] - 0x30 if is_digit(points[place]) else (points[place] | 0x20) - 0x57)
            place += 1
        if place == begin:
            break
        if place - begin > 4 or (groups == 0 and place - begin < 4):
            return 0
        second = value if groups == 1 else second
        groups += 1
        if groups == 8 or place + 1 >= len(points) or points[place] != COLON:
            break
        if points[place + 1] == COLON:
            gaps += 1
            place += 2
        elif is_hexadecimal(points[place + 1]):
            place += 1
        else:
            break
    documented = points[at] == 0x32 and points[at + 3] == 0x31 and second == 0xDB8
    whole = (groups == 8 and gaps == 0) or (3 <= groups < 8 and gaps == 1)
    over = place >= len(points) or not (is_alphanumeric(points[place]) or points[place] in (COLON, SLASH, UNDERSCORE))
    return place if whole and over and not documented else 0


@kernel
def match_account(points: Points, at: int) -> tuple[int, int, int]:
    """The number after QQ or the name after 微信, with a colon, a space or a word such as 号 between."""
    none = -1, at, at
    after = 0
    if (points[at] | 0x20) == 0x71:
        if at + 1 < len(points) and (points[at + 1] | 0x20) == 0x71 and not (at and is_alphanumeric(points[at - 1])):
            after = at + 2
    elif points[at] in (0x5FAE, 0x5A01) and at + 1 < len(points) and points[at + 1] == 0x4FE1:  # 微信 or 威信
        after = at + 2
    if not after:
        return none
    start = after
    while start < len(points) and start - after < 4 and points[start] in (COLON, SPACE, 0x3000, 0x53F7, 0x7FA4, 0x662F):
        start += 1  # 号 群 是
    end = start
    digits = letters = 0
    while end < len(points) and (is_alphanumeric(points[end]) or (letters and points[end] in (DASH, UNDERSCORE))):
        digits += is_digit(points[end])
        letters += is_letter(points[end])
        end += 1
    if (points[at] | 0x20) == 0x71:
        return (ACCOUNT, start, end) if not letters and 5 <= digits <= 11 and digits == end - start else none
    return (ACCOUNT, start, end) if start > after and 6 <= end - start <= 20 and digits else none


@kernel
def end_of_key(points: Points, at: int) -> int:
    """An AWS key id, a GitHub token or a Google API key, by prefix and length, save those that say EXAMPLE; else 0."""
    if at + 20 > len(points) or (at and (is_alphanumeric(points[at - 1]) or points[at - 1] == UNDERSCORE)):
        return 0
    second, third, fourth = points[at + 1], points[at + 2], points[at + 3]
    capitals, length = False, 0
    if points[at] == 0x41 and third == 0x49 and fourth == 0x41 and second in (0x4B, 0x53):  # AKIA, ASIA
        capitals, length = True, 20
    elif points[at] == 0x41 and second == 0x49 and third == 0x7A and fourth == 0x61:  # AIza
        length = 39
    elif points[at] == 0x67 and second == 0x68 and fourth == UNDERSCORE and third in KEY_LETTERS:  # ghp_
        length = 40
    end = at + 4
    digits = 0
    while end < len(points) and (is_alphanumeric(points[end]) or (not capitals and points[end] in (DASH, UNDERSCORE))):
        digits += is_digit(points[end])
        if capitals and 0x61 <= points[end] <= 0x7A:
            return 0
        end += 1
    if not length or end - at != length or not digits or ends_with(points, end, EXAMPLES):
        return 0
    return end
