"""How a Chinese reader says numbers, symbols and names in Chinese text."""

from __future__ import annotations

import re

from server.speech.reading import measures
from server.speech.reading.chinese_dates import DATE_RULES
from server.speech.reading.names import NameReader
from server.speech.reading.numerals import MAX_CARDINAL_DIGITS, chinese_digits, chinese_number
from server.speech.reading.rules import (
    FRACTION,
    NUMBER,
    OPERAND_AHEAD,
    OPERAND_BEHIND,
    RANGE_MARK,
    RuleTable,
    follows,
    one_of,
    plain,
)

_COUNTERS = (
    "个只条位本支家种次倍天年周秒分小点块元米公克升斤两吨岁人件张座辆台套份颗棵头匹根把片层"
    "场门道双对瓶杯碗袋箱盒顿句段篇幅名间栋首章节集部枚群排组类样项处口轮圈趟遍回步万亿千百"
)
"""Before these, 2 is 两: 两个. Not before 月 日 号 楼 班 路 级 and the like."""
_NOT_COUNTERS = ("年级", "分之", "周年", "点击")
"""Words that begin like a counter and are none."""

_CURRENCIES = {
    "￥": "元", "¥": "元", "$": "美元", "€": "欧元", "£": "英镑", "₩": "韩元", "₹": "卢比",
    "US$": "美元", "HK$": "港元", "NT$": "新台币", "RMB": "元", "CNY": "元",
}  # fmt: skip
_SCALES = {"k": "千", "K": "千", "M": "百万", "B": "十亿"}
_UNITS = {
    "g": "克", "t": "吨", "mL": "毫升", "㎡": "平方米", "㎏": "公斤", "㎞": "公里", "㎝": "厘米",
    "㎜": "毫米", "km²": "平方公里", "V": "伏", "mA": "毫安", "mAh": "毫安时", "kW": "千瓦",
    "kWh": "千瓦时", "Hz": "赫兹", "kHz": "千赫兹", "MHz": "兆赫兹", "GHz": "吉赫兹", "dB": "分贝",
    "Pa": "帕", "kPa": "千帕", "hPa": "百帕", "kcal": "千卡", "nm": "纳米", "μm": "微米",
    "μg": "微克", "μg/m³": "微克每立方米", "℃": "摄氏度", "°C": "摄氏度", "℉": "华氏度",
    "°F": "华氏度", "°": "度", "GB": "GB", "MB": "MB", "TB": "TB", "KB": "KB", "W": "W",
    "Mbps": "Mbps",
}  # fmt: skip
"""Units that wetext does not know, or says in an unusual way; some are said as letters."""
_OPERATORS = {
    "+": "加", "-": "减", "−": "减", "×": "乘", "*": "乘", "x": "乘", "X": "乘", "÷": "除以",
    "=": "等于", "<": "小于", ">": "大于", "≤": "小于等于", "≥": "大于等于", "<=": "小于等于",
    ">=": "大于等于", "≠": "不等于", "!=": "不等于", "≈": "约等于", "±": "正负",
}  # fmt: skip
_SIGNS = {"-": "负", "−": "负", "+": "正", "~": "约", "≈": "约"}
_SYMBOLS = (
    {"½": "二分之一", "⅓": "三分之一", "⅔": "三分之二", "¼": "四分之一", "¾": "四分之三"}
    | {"√": "根号", "π": "派", "∞": "无穷大", "№": "第"}
    | {chr(0x2460 + index): chinese_number(str(index + 1)) for index in range(20)}
    | {chr(0x2160 + index): chinese_number(str(index + 1)) for index in range(12)}
)
_ACCOUNTS = (
    "验证码|尾号|密码|编号|账号|帐号|卡号|工号|学号|单号|号码|邮编|车牌|热线|客服|拨打|致电|电话|"
    "手机号?|分机|QQ群?号?|房间号"
)
"""Words after which a number is read digit by digit."""

_SIGN = r"(?:(?<![\w)）%.])[-−+])?"
_NUMBERS = rf"{_SIGN}{NUMBER}(?:{RANGE_MARK}{NUMBER})?"
_NAMES = NameReader(
    read_number=chinese_number, read_digits=chinese_digits, dot="点", point="点", at=" at ", gap=""
)


def _number(text: str) -> str:
    return chinese_number(plain(text))


def _counted(number: str, after: str) -> str:
    """Read a number before what it counts."""
    is_counter = after[:1] != "" and after[0] in _COUNTERS
    if number == "2" and is_counter and not after.startswith(_NOT_COUNTERS):
        return "两"
    return _number(number)


def _signed(text: str) -> tuple[str, str]:
    """Split a sign off, in words."""
    sign = {"-": "负", "−": "负", "+": "正"}.get(text[0], "")
    return sign, text[1:] if sign else text


def _telephone(match: re.Match[str]) -> str:
    return "，".join(chinese_digits(part, one="幺") for part in re.findall(r"\d+", match[0]))


def _account(match: re.Match[str]) -> str:
    value = match["account_value"]
    parts = re.findall(r"\d+|[A-Z]+", value)
    words = (chinese_digits(p, one="幺") if p.isdecimal() else p for p in parts)
    return match["account_label"] + "".join(words)


def _telephone_or_range(match: re.Match[str]) -> str:
    first, last = match[0].split("-")
    after = follows(match)
    is_counted = after != "" and after in _COUNTERS
    if is_counted or (first.endswith("0") and last.endswith("0")):
        return f"{_number(first)}到{_number(last)}"
    return _telephone(match)


def _ratio(match: re.Match[str]) -> str:
    return "比".join(_number(part) for part in re.findall(NUMBER, match[0]))


def _amount(number: str) -> str:
    """An amount of money: no one says the zeros of 299.00 or 5.20."""
    whole, _, fraction = plain(number).partition(".")
    fraction = fraction.rstrip("0")
    return chinese_number(f"{whole}.{fraction}" if fraction else whole)


def _money(match: re.Match[str]) -> str:
    magnitude = match["money_magnitude"] or ""
    words = "到".join(_amount(number) for number in re.findall(NUMBER, match["money_numbers"]))
    words = "两" if words == "二" else words
    return words + _SCALES.get(magnitude, magnitude) + _CURRENCIES[match["money_sign"]]


def _percent(match: re.Match[str]) -> str:
    mark = "千分之" if match[0][-1] == "‰" else "百分之"
    sign, rest = _signed(match[0])
    return sign + "到".join(mark + _number(number) for number in re.findall(NUMBER, rest))


def _measure(match: re.Match[str]) -> str:
    unit = match["measure_unit"]
    sign, rest = _signed(match["measure_numbers"])
    sign = "零下" if sign == "负" and unit in ("℃", "°C") else sign
    *first, last = map(plain, re.findall(NUMBER, rest))
    lead = sign + "".join(f"{_counted(number, '个')}到" for number in first)
    if unit in _UNITS or len(last) > MAX_CARDINAL_DIGITS:
        return lead + _counted(last, "个") + _UNITS.get(unit, unit)
    return lead + measures.read(last + unit, "zh")


def _fraction(match: re.Match[str]) -> str:
    whole, top, bottom = match["fraction_whole"], match["fraction_top"], match["fraction_bottom"]
    if (top, bottom) == ("24", "7"):
        return "二十四七"
    if int(top) >= int(bottom):
        return f"{_number(top)}比{_number(bottom)}"
    lead = f"{_number(whole)}又" if whole else ""
    return f"{lead}{_number(bottom)}分之{_number(top)}"


def _ordinal(match: re.Match[str]) -> str:
    return "到".join(_number(part) for part in re.findall(r"\d+", match[0]))


def _range(match: re.Match[str]) -> str:
    first, last = match["range_first"], match["range_last"]
    after = follows(match, 2)
    is_counted = "\u4e00" <= after[:1] <= "\u9fff"
    if not is_counted and "=" in match.string:
        return f"{_number(first)}减{_number(last)}"
    if is_counted or float(plain(first)) < float(plain(last)):
        return f"{_counted(first, after)}到{_counted(last, after)}"
    return f"{_number(first)}{'减' if ' ' in match['range_mark'] else '比'}{_number(last)}"


def _scientific(match: re.Match[str]) -> str:
    base, exponent = re.split("[eE]", match[0])
    sign, digits = _signed(exponent)
    return f"{_number(base)}乘以十的{sign}{_number(digits)}次方"


def _size(match: re.Match[str]) -> str:
    return "乘".join(_number(part) for part in re.findall(NUMBER, match[0]))


def _number_sign(match: re.Match[str]) -> str:
    words = _number(re.findall(r"\d+", match[0])[0])
    return f"{words}号" if match[0][0] == "#" else f"第{words}"


def _more_than(match: re.Match[str]) -> str:
    number = plain(match[0][:-1])
    return _number(number) + ("多" if number.endswith("0") else "加")


def _bare(match: re.Match[str]) -> str:
    return _counted(plain(match[0]), follows(match, 2))


def _power(match: re.Match[str]) -> str:
    if match[0] in ("²", "³"):
        return "的平方" if match[0] == "²" else "的立方"
    sign, exponent = _signed(match[0].lstrip("^*"))
    return f"的{sign}{_number(exponent)}次方"


def _operator(match: re.Match[str]) -> str:
    return _OPERATORS[match[0].strip()]


def _prefix(match: re.Match[str]) -> str:
    sign = match[0].strip()
    return _SIGNS.get(sign) or _OPERATORS[sign]


RULES = RuleTable(
    *_NAMES.address_rules(),
    *DATE_RULES,
    _NAMES.version_rule(),
    (rf"(?<![\d:：]){NUMBER}(?:\s?[:：]\s?{NUMBER})+(?!\d)", _ratio),
    (
        (
            rf"(?P<money_sign>{one_of(_CURRENCIES)})\s?(?P<money_numbers>{NUMBER}"
            rf"(?:{RANGE_MARK}{NUMBER})?)(?P<money_magnitude>[kKMB](?![A-Za-z])|[万亿千百]+)?"
        ),
        _money,
    ),
    (rf"(?<![\d.,]){NUMBER}(?<=\.\d\d)(?=\s?[元块])", lambda match: _amount(match[0])),
    (rf"{_SIGN}{NUMBER}(?:\s?[%‰])?(?:{RANGE_MARK}{NUMBER})?\s?[%‰]", _percent),
    (
        (
            rf"(?P<measure_numbers>{_NUMBERS})\s?(?P<measure_unit>"
            rf"{one_of([*_UNITS, *measures.CHINESE_UNITS])})(?![A-Za-z\d²³/])"
        ),
        _measure,
    ),
    (r"(?<![\d-])(?:\+?86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?![\d-])", _telephone),
    (r"(?<![\d-])\(?0\d{2,3}\)?[- ]?\d{7,8}(?:-\d{1,6})?(?![\d-])", _telephone),
    (r"(?<![\d-])[48]00[- ]\d{3}[- ]\d{4}(?![\d-])|(?<!\d)\d{4}(?: \d{4}){2,}(?!\d)", _telephone),
    (r"(?<![\d-])\d{3}-\d{4}(?![\d-])", _telephone_or_range),
    (r"(?<![\d-])\d+(?:-\d+){2,}(?![\d-])", _telephone),
    (
        (
            rf"(?P<account_label>(?:{_ACCOUNTS})[是为：:\s]*)(?P<account_value>[A-Z]?\d[\dA-Z]{{2,}})"
            r"(?![\d.%万亿个元-])"
        ),
        _account,
    ),
    (r"(?<=打)(?:1[12]\d|12\d{3}|10\d{3}|95\d{3})(?![\d.元个分块点次人万])", _telephone),
    (FRACTION, _fraction),
    (rf"(?<=第)\d+(?:{RANGE_MARK}\d+)?(?!\d)", _ordinal),
    (
        (
            rf"(?<![\d.-])(?P<range_first>(?!0\d){NUMBER})(?P<range_mark>{RANGE_MARK})"
            rf"(?P<range_last>(?!0\d){NUMBER})(?![\d-]|\s*=|\.\d)"
        ),
        _range,
    ),
    (rf"(?<![\w.]){NUMBER}\s?[xX]\s?{NUMBER}(?![\w.])", _size),
    (rf"(?<![\w.]){NUMBER}[eE][-+]?\d{{1,3}}(?!\w)", _scientific),
    (
        rf"(?<=[A-Z]{{2}} )\d{{3,4}}(?![\d.,]|\s?[{_COUNTERS}])",
        lambda match: chinese_digits(match[0]),
    ),
    _NAMES.name_rule(),
    (r"\bNo\.\s?\d+|#\d+", _number_sign),
    (rf"{NUMBER}\+(?!\s?[\w(])", _more_than),
    (NUMBER, _bare),
    (r"\.\d+", lambda match: f"点{chinese_digits(match[0][1:])}"),
    (r"(?:\^|\*\*)[-+]?\d+|(?<=[\w)])[²³]", _power),
    (rf"{OPERAND_BEHIND}\s*(?:<=|>=|!=|[×*÷+<>≤≥≠≈±])\s*{OPERAND_AHEAD}", _operator),
    (r"(?<=[\w)²³π])\s*=\s*(?=[-\w(√π])", _operator),
    (r"(?<=[\w)])\s*[-−]\s*(?=[\w(.]+\s*=)|(?<=[\d)]) [-−] (?=[\d(])", _operator),
    (r"(?<![\w)）])(?:<=|>=|[<>≤≥≈~±])\s?(?=\d)|(?<![\w)）.])[-−+](?=[\d√])", _prefix),
    (r"(?<=元)/", lambda _: "每"),
    (r"(?<=\))\s*/\s*(?=[\w(])", lambda _: "除以"),
    (f"[{''.join(_SYMBOLS)}]", lambda match: _SYMBOLS[match[0]]),
)
"""All rules for Chinese, the more particular first."""
