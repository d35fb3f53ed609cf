"""Small made-up corpora in many scripts, with copies, near copies and secrets planted in them: what is to be found is known.

The texts are word lists put in a random order. They say nothing, but they have the letters, marks, blanks and full stops of
their script, and no two of them share more than chance and one line of boilerplate.
"""

# ruff: noqa: E501  (a word list, a case of a table: one line each)

from __future__ import annotations

import random
import unicodedata
from dataclasses import dataclass, field

LINK = "https://example.org/notes/2024/some/long/path/to/the/page?id=7"


@dataclass(frozen=True)
class Script:
    """A script's words, what stands between them and at the end of a sentence, and the line that all of its documents share."""

    words: str
    boilerplate: str
    blank: str = " "
    stop: str = ". "
    form: str = "NFC"

    def sentence(self, rng: random.Random) -> str:
        words = self.words.split()
        return self.blank.join(rng.choice(words) for _ in range(rng.randrange(6, 12))) + self.stop

    def document(self, rng: random.Random, sentences: int = 24) -> str:
        lines = ["".join(self.sentence(rng) for _ in range(4)).strip() for _ in range(sentences // 4)]
        return unicodedata.normalize(self.form, "\n".join([*lines, f"{self.boilerplate} {LINK}", ""]))

    def changed(self, text: str, rng: random.Random, times: int = 3) -> str:
        """A near copy: `times` words of it are others."""
        words = [unicodedata.normalize(self.form, word) for word in self.words.split()]
        for _ in range(times):
            old, new = rng.sample([word for word in words if word in text], 1)[0], rng.choice(words)
            places = [i for i in range(len(text)) if text.startswith(old, i)]
            at = rng.choice(places)
            text = text[:at] + new + text[at + len(old) :]
        return text


SCRIPTS = {
    "Chinese, simplified": Script(
        "今天 天气 很好 我们 公园 散步 孩子 老师 学校 图书馆 晚上 月亮 河边 火车 城市 苹果 茶叶 桥梁 冬天 下雪 音乐 朋友 故事 山路 厨房",
        "本文转载请注明出处：",
        "",
        "。",
    ),
    "Chinese, traditional": Script(
        "今天 天氣 晴朗 我們 學校 圖書館 老師 點心 雞蛋 飛機 電車 橋樑 冬天 雪花 音樂 朋友 故事 山路 廚房 顏色 海邊 燈塔 書桌 葉子",
        "本文轉載請註明出處：",
        "",
        "。",
    ),
    "Japanese": Script(
        "今日 は 天気 が とても 良い 電車 に 乗って 図書館 へ 行き カレー を 食べた 友達 と 夕方 まで 話した コーヒー 雪 の 朝 山道 ピアノ",
        "無断転載を禁じます：",
        "",
        "。",
    ),
    "Korean": Script(
        "오늘은 날씨가 좋아서 우리는 공원에서 산책을 했다 선생님이 학교 도서관 저녁에 달빛 강가에 기차를 도시의 사과 겨울 눈이 음악과 친구",
        "무단 전재를 금합니다:",
    ),
    "Thai": Script(
        "วันนี้ อากาศ ดีมาก เรา ไป เดินเล่น ที่ สวน เด็ก ครู โรงเรียน ห้องสมุด ตอนเย็น พระจันทร์ ริมน้ำ รถไฟ เมือง ส้มโอ สะพาน ฤดูหนาว ดนตรี เพื่อน",
        "ห้ามคัดลอกโดยไม่ได้รับอนุญาต",
        "",
        " ",
    ),
    "Khmer": Script(
        "ថ្ងៃនេះ អាកាសធាតុ ល្អណាស់ យើង ទៅ ដើរលេង សួន ក្មេង គ្រូ សាលារៀន បណ្ណាល័យ ពេលល្ងាច ព្រះច័ន្ទ មាត់ទន្លេ រថភ្លើង ទីក្រុង ស្ពាន តន្ត្រី មិត្ត",
        "សូមកុំចម្លងដោយគ្មានការអនុញ្ញាត",
        "",
        "។",
    ),
    "Burmese": Script(
        "ယနေ့ ရာသီဥတု ကောင်းတယ် ကျွန်တော်တို့ ပန်းခြံ လမ်းလျှောက် ကလေး ဆရာ ကျောင်း စာကြည့်တိုက် ညနေ လ မြစ်ကမ်း ရထား မြို့ တံတား ဆောင်းရာသီ ဂီတ သူငယ်ချင်း",
        "ခွင့်ပြုချက်မရှိဘဲ မကူးယူရ",
        "",
        "။",
    ),
    "Arabic": Script(
        "الطَّقسُ جميل اليوم ذهبنا إلى الحديقة مع الأطفال المعلم المدرسة المكتبة مساء القمر النهر القطار المدينة تفاح جسر الشتاء ثلج موسيقى صديق قصة",
        "جميع الحقوق محفوظة:",
        stop="۔ ",
    ),
    "Persian": Script(
        "امروز هوا خوب است ما می‌رویم به باغ بچه‌ها معلم مدرسه کتاب‌خانه شب ماه رودخانه قطار شهر سیب پل زمستان برف موسیقی دوست داستان",
        "بازنشر با ذکر منبع:",
        stop=". ",
    ),
    "Hebrew": Script(
        "הַיּוֹם מזג האוויר יפה הלכנו לגן עם הילדים המורה בית הספר ספרייה בערב ירח נהר רכבת עיר תפוח גשר חורף שלג מוזיקה חבר סיפור",
        "כל הזכויות שמורות:",
    ),
    "Hindi": Script(
        "आज मौसम बहुत अच्छा है हम बगीचे में टहलने जाते हैं बच्चे शिक्षक विद्यालय पुस्तकालय शाम चाँद नदी रेलगाड़ी शहर सेब पुल सर्दी बर्फ़ संगीत मित्र",
        "सर्वाधिकार सुरक्षित:",
        stop="। ",
    ),
    "Bengali": Script(
        "আজ আবহাওয়া খুব ভালো আমরা বাগানে হাঁটতে যাই শিশু শিক্ষক বিদ্যালয় গ্রন্থাগার সন্ধ্যা চাঁদ নদী রেলগাড়ি শহর আপেল সেতু শীত তুষার সঙ্গীত বন্ধু",
        "সর্বস্বত্ব সংরক্ষিত:",
        stop="। ",
    ),
    "Tamil": Script(
        "இன்று வானிலை மிகவும் நன்றாக உள்ளது நாங்கள் பூங்கா நடந்தோம் குழந்தை ஆசிரியர் பள்ளி நூலகம் மாலை நிலா ஆறு தொடர்வண்டி நகரம் பாலம் குளிர் பனி இசை நண்பன்",
        "அனைத்து உரிமைகளும்:",
    ),
    "Russian": Script(
        "сегодня погода хорошая мы пошли гулять в парк дети учитель школа библиотека вечером луна река поезд город ёлка мост зима снег музыка друг подъезд",
        "Все права защищены:",
    ),
    "Greek": Script(
        "σήμερα ο καιρός είναι ωραίος πήγαμε περίπατο στο πάρκο παιδιά δάσκαλος σχολείο βιβλιοθήκη βράδυ φεγγάρι ποτάμι τρένο πόλη μήλο γέφυρα χειμώνας",
        "Με επιφύλαξη δικαιώματος:",
    ),
    "Vietnamese, NFC": Script(
        "hôm nay thời tiết đẹp chúng tôi đi dạo ở công viên trẻ em thầy giáo trường học thư viện buổi tối mặt trăng bờ sông tàu hỏa thành phố cây cầu",
        "Vui lòng ghi rõ nguồn:",
    ),
    "Vietnamese, NFD": Script(
        "hôm nay thời tiết đẹp chúng tôi đi dạo ở công viên trẻ em thầy giáo trường học thư viện buổi tối mặt trăng bờ sông tàu hỏa thành phố cây cầu",
        "Vui lòng ghi rõ nguồn:",
        form="NFD",
    ),
    "Turkish": Script(
        "bugün hava çok güzel İstanbul ılık ırmak parkta yürüdük çocuklar öğretmen okul kütüphane akşam ay nehir tren şehir elma köprü kış kar müzik dost",
        "Her hakkı saklıdır:",
    ),
    "emoji": Script(
        "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 ❤️ 🐈 🌧 🚀 🎉 🍎 🎈 🧊 🌲 🐕 🔥 ☀️ 🇯🇵 🇧🇷 1️⃣ 🧑🏿‍🚀 🎻 🏔 🚂 🌉 📚", "✂️🚫", "", "❗ "
    ),
    "Chinese with addresses": Script(
        "今天 下载 https://example.com/a/b 然后 运行 pip install 打开 文件 README.md 检查 版本 v2.1 老师 教程 网络 GPU 训练 模型 数据 Python 代码 结果 图表",
        "本文转载请注明出处：",
        "",
        "。",
    ),
}

# What has to go, each as people write it. None of them is anybody's: example domains, the card number of test systems, numbers
# kept for films, an IBAN from its own standard.
SECRETS = {
    "mail": ("ling.chen@example.com", "ling.chen＠example．com", "a@site.international"),
    "phone": ("+44 20 7946 0958", "＋４４ ２０ ７９４６ ０９５８"),
    "iban": ("GB82 WEST 1234 5698 7654 32",),
    "card": ("4111 1111 1111 1111", "４１１１ １１１１ １１１１ １１１１"),
    "key": ("ghp_" + "a1B2" * 9, "hf_" + "Zz9" * 12),
}
# What only looks like it
ORDINARY = ("2024-01-31 12:30:45", "ISBN 978-3-16-148410-0", "v2.10.3", "1,234,567.89", "1234 5678 9012 3456", "c = a@b.T", "@name",
            "+1", "π ≈ 3.14159265358979", "§ 2.4.8.19", "微信＠老师", "RFC 2119", "x + 12345678")  # fmt: skip
AROUND = (("{}", "{}"), ("，", "。"), ("（", "）"), ("：", "、"))  # {}: a letter of the script


@dataclass
class Planted:
    """A script's corpus. `texts` name -> text; of `near` and `same` (names) one has an original, `secrets` are what must go."""

    texts: dict[str, str] = field(default_factory=dict)
    different: list[str] = field(default_factory=list)
    near: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)


def full_width(text: str) -> str:
    """ASCII as it is written among Chinese characters."""
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def planted(script: Script, documents: int = 12, near: int = 4, seed: int = 0) -> Planted:
    """`documents` different ones with secrets in them, `near` changed copies, and one exact copy for each way to write it."""
    rng = random.Random(seed)
    made = Planted()
    ways = [(secret, around) for kind in SECRETS.values() for secret in kind for around in AROUND]
    # ASCII letters right beside an address would be part of it
    words = [unicodedata.normalize(script.form, word) for word in script.words.split()]
    edges = [[w for w in words if not w[-1].isascii()], [w for w in words if not w[0].isascii()]]
    for i in range(documents):
        text = script.document(rng)
        for secret, (before, after) in ways[i::documents]:
            first, second = (
                side.replace("{}", rng.choice(words))
                for side, words in zip((before, after), edges, strict=True)
            )
            head, end, tail = text.partition("\n")
            text = f"{head}{end}{first}{secret}{second}\n{tail}"
            made.secrets.append(secret)
        text += ORDINARY[i % len(ORDINARY)] + "\n"
        name = f"a{i:02d}"
        made.texts[name] = text
        made.different.append(name)
    for i in range(near):
        made.texts[f"b{i:02d}"] = script.changed(made.texts[f"a{i:02d}"], rng)
        made.near.append(f"b{i:02d}")
    one = made.texts[f"a{documents - 1:02d}"]
    for name, text in {
        "c-same": one,
        "c-blanks": one.replace("\n", "  \n\n"),
        "c-crlf": one.replace("\n", "\r\n"),
        "c-cr": one.replace("\n", "\r"),
        "c-nfc": unicodedata.normalize("NFC", one),
        "c-nfd": unicodedata.normalize("NFD", one),
        "c-wide": full_width(one),
        "c-mark": "\ufeff" + one,
    }.items():
        made.texts[name] = text
        made.same.append(name)
    return made
