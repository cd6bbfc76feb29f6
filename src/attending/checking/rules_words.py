"""Rules that hold a sentence against its own words: garble, modality, judgement, recommendation, unknown words."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from itertools import pairwise

from ..terms.scope import kinds
from ..terms.tokens import root, stems
from .cited import Claim
from .found import Found, contradicted, unknown

MAX_WORDS = 90  # the longest sentence of a signed public report seen has 77; beyond this a model has run on

_WORDS = tomllib.loads((files(__package__) / "words.toml").read_text(encoding="utf-8"))
VOCABULARY: dict[str, frozenset[str]] = {k: frozenset(v) for k, v in _WORDS["modality"].items()}
SEVERITY, COMPARISON, NORMALITY, NATURE = (
    frozenset(_WORDS["judgement"][k]) for k in ("severity", "comparison", "normality", "nature")
)
NARROWING: tuple[str, ...] = tuple(_WORDS["judgement"]["narrowing"])
_WEIGHING = SEVERITY | COMPARISON | NORMALITY | NATURE
ALIKE = tuple(frozenset(group) for group in _WORDS["judgement"]["alike"])
RECOMMENDATION = re.compile(rf"\b(?:{'|'.join(_WORDS['advice']['patterns'])})\b", re.IGNORECASE)
_META = re.compile("|".join(_WORDS["garble"]["patterns"]), re.IGNORECASE)
_SAME = {"DX": "CR", "RG": "CR", "RF": "CR", "XA": "CR", "PX": "CR", "IO": "CR", "MG": "CR", "PT": "NM", "PET": "NM",
         "MRI": "MR", "XR": "CR", "IVUS": "US", "ST": "NM"}  # fmt: skip
# Radiographic words that CT readers use as well.
_SHARED = {("CT", "radiopaque")}
_NAMED = {
    "ct": "CT",
    "mr": "MR",
    "mri": "MR",
    "ultrasound": "US",
    "sonogram": "US",
    "radiograph": "CR",
    "xray": "CR",
    "pet": "NM",
}

_CHANCE = re.compile(r"\b(probability|likelihood|chance|confidence|confident|certainty|certain)\b", re.IGNORECASE)
_RANGE = re.compile(
    r"\b(?:low(?:er)?|high(?:er)?) (?:than|for)\b"
    r"|\bwhich (?:is|was|are) (?:very |quite |rather )?(?:high|low|good|bad|big)\b"
    r"|\b(?:within|outside|above|below)\s+(?:the\s+)?(?:normal|expected|reference)\b",
    re.IGNORECASE,
)

# A model asked for a number that it was not given stops where the number would stand.
_CUT = re.compile(r"\b(of|with|the|a|an|measuring|is|are|and|or|to|than|score)\s*\)?\s*[.,;]?\s*$", re.IGNORECASE)
_DANGLING = re.compile(
    r"\b(?:of|with|by|measuring|the|an|than|at)\s*(?:[.,;)](?!\d)|\(\s*\)|-\s*[.,;]|$)"
    r"|\b(?:of|is|score|probability|size|depth|volume|diameter|thickness|measuring)\s+(?-i:[B-KM-QU-Z])(?![\w'-]\w)(?!\w)"
    r"|\s[-–—]\s*[.,;]?\s*$|\(\s*[,;.]|\(\s*\)",
    re.IGNORECASE,
)
_SCORED = re.compile(r"\b(?:model\s+)?(?:scores?|probability|likelihood)\b", re.IGNORECASE)
_SIZED = re.compile(
    r"\b(?:with|has|have|having|at)\s+an?\s+(?:\w+\s+)?(depth|thickness|volume|diameter|size|length|width|density)\b",
    re.IGNORECASE,
)
_TWICE = re.compile(
    r"\b([a-z]{4,}(?: [a-z]+){0,3}) (?:with|of) (?:an? |the )?(?:(?:possible|left|right) )*\1\b"
    r"|\b(mm|cm|ml|cc) (?:mm|cm|ml|cc)\b",
    re.IGNORECASE,
)
_SUFFIX = re.compile(
    r"(?:oma|omata|itis|osis|oses|emia|pathy|ectasi[sa]|plasia|megaly|rrhage|rrhagic|cele|lithiasis|ptosis|stenosis|trophy|"
    r"sarcoma|carcinoma|blastoma|malacia|sclerosis|penia|plegia|edema|noma)$"
)
# Adjectives of place made of the names of parts of the body: pelvicalyceal, tracheobronchial, retrotracheal.
_STEMS = (
    "abdomin|acetabul|acromi|adren|alveol|an|ant(?:e|i|ero)|aort|appendic|arteri|articul|atlant|atri|auricul|axi|axill|azyg|bas"
    "|bicipit|bil|brachi|bronch|bronchiol|bursa?|calcane|cali|calyc|capit|caps|cardi|carp|caud|caval|cav|cec|celi|cephal|cerebell|cerebr|cervic|chole"
    "|chondr|chori|clavicul|clinoid|cocc|col|colon|condyl|coracoid?|coron|cortic|cost|crani|cubo|cune|cutane|cyst|dent"
    "|derm|digit|diaphragm|disc|dors|duoden|dur|encephal|endometri|enter|epiploic|esophag|ethmoid|faci|falc|femor|fibul|foramin|front"
    "|gastr|gingiv|glen|glenohumer|gluteal|glut|gyr|hepat|hil|hippocamp|humer|hyoid|ile|ili|inguin|insul|ischi|jejun|jugul|labr|lacrim"
    "|laryng|later|lent|lien|ligament|lingu|lob|lobul|lumb|lun|lymphat|malleol|mamm|mandibul|mast|mastoid|maxill|medi|mediastin"
    "|medull|mening|menisc|mesenter|metacarp|metaphys|metatars|mitr|muscul|my|myometri|nas|navicul|nephr|neur|nucle|occipit"
    "|ocul|odont|omen|omental|opercul|ophthalm|orbit|ost|ot|ovari|palat|palm|pancreat|parenchym|pariet|parot|patell|pector|pedicul|pelv|pelvi"
    "|pericardi|perine|peritone|periost|peron|petr|phalang|pharyng|phren|pituit|plant|pleur|pont|poplit|port|poster|prostat|pter|pub"
    "|pulmon|pyel|pylor|pyramid|radi|rect|ren|retin|retr|sacr|sagitt|salping|saphen|scaph|scapul|sci|scrot|sell|sept|sigm"
    "|sin|spermat|sphen|spin|splen|stern|stri|styl|subclavi|sulc|syndesm|synov|tal|tars|tempor|tendin|tendon|test|thalam|thec"
    "|thorac|thym|thyr|tibi|tonsill|trache|triquetr|trochant|troch|tympan|uln|umbilic|ureter|urethr|urin|uter|vagin|valvul|vas"
    "|vascul|ven|ventricul|verm|vertebr|vesic|viscer|vulv|zyg|zygom|zygomat"
)
_PLACE = re.compile(
    r"^(?:pre|post|para|peri|retro|sub|supra|infra|inter|intra|trans|extra|epi|endo|meso|ante|mid|bi|uni|multi|juxta|hemi|"
    rf"pan|non|neuro|proximo|disto|antero|postero|latero|medio|supero|infero)*(?:(?:{_STEMS})(?:o|i|eo|io|ulo)?){{1,3}}"
    r"(?:al|ar|ic|eal|ial|ary|ine|ian|ean|an|ular|oid|uous|ual|ous|ous)$"
)
_NOT_DISEASE = frozenset(["diagnosis", "prognosis", "hypothesis", "anastomosis", "coma", "aroma", "dosis"])
# "R > L", "> 3 cm": marks of comparison, no markup.
_ORDERED = re.compile(r"\b(?:r|l|right|left) ?[<>] ?(?=(?:r|l|right|left)\b)|[<>] ?(?==? ?\d)", re.IGNORECASE)
_COUNTED = {
    "score", "probability", "volume", "ml", "mm", "diameter", "depth", "thickness", "density", "cm", "length", "size",
}  # fmt: skip
_OTHER = re.compile(r"[^\x00-ɏΑ-ω–—‘’“”•…°²³×µ≥≤±→\s]")


def garble(claim: Claim) -> Found | None:
    """Instruction text, markup, repetition, another language, no sentence at all, or one far too long."""
    words = re.findall(r"[^\W\d_]+", claim.text)
    if not words:
        return contradicted("garble", "holds no words")
    if (hit := _META.search(_ORDERED.sub(" ", claim.text))) is not None:
        return contradicted("garble", f"holds text that is no report ({hit.group().strip()!r})")
    if _OTHER.search(claim.text):
        return contradicted("garble", "holds characters that English reports do not use")
    if len(words) > MAX_WORDS:
        return contradicted("garble", f"has {len(words)} words; a sentence has at most {MAX_WORDS}")
    if (cut := _CUT.search(claim.text)) is not None:
        return contradicted("garble", f"breaks off after {cut.group(1)!r}")
    if (hit := _DANGLING.search(claim.text)) is not None:
        return contradicted("garble", f"breaks off at {hit.group().strip()!r}")
    if claim.cited.facts and (noun := _valueless(claim)) is not None:
        return contradicted("garble", f"speaks of a {noun} and gives none")
    low = [w.lower() for w in words]
    if any(a == b and len(a) > 3 and a != "xxxx" for a, b in pairwise(low)):
        return contradicted("garble", "repeats a word")
    named = [m.name for m in claim.parsed.findings]
    if _TWICE.search(claim.text) or (len(low) < 14 and any(named.count(n) > 2 for n in named)):
        return contradicted("garble", "says one thing twice")
    threes = [tuple(low[i : i + 3]) for i in range(len(low) - 2)]
    threes = [t for t in threes if not _COUNTED & set(t)]  # each fact of a list has its own
    # What the gate says of a model can name the model three times; repeating it word for word is no garble.
    quoted = claim.text.strip() in {text.strip() for text in claim.cited.texts}
    if not quoted and any(threes.count(t) > 2 and set(t) != {"xxxx"} for t in set(threes)):
        return contradicted("garble", "repeats itself")
    strange = _strange(claim)
    if len(low) >= 4 and len(strange) > len(low) / 2:
        return contradicted("garble", "is not English report prose")
    return None


def _valueless(claim: Claim) -> str | None:
    """A score, probability or size that is spoken of without its number."""
    text = claim.text
    for hit in _SCORED.finditer(text):
        near = text[max(0, hit.start() - 25) : hit.end() + 90].partition(";")[0]
        if not re.search(r"\d", near) and not re.search(r"calibrated|threshold|cut-?off", text, re.IGNORECASE):
            return hit.group().lower()
    size = _SIZED.search(text)
    if size is not None and not re.search(r"\d", text[size.end() : size.end() + 30]):
        return size.group(1).lower()
    return None


def modality(claim: Claim) -> Found | None:
    """Nothing outside what the study's modality and body part can show."""
    if claim.modality is None:
        return None
    own = _SAME.get(claim.modality, claim.modality)
    said = claim.cited.words
    for other, words in VOCABULARY.items():
        if other == own or own not in VOCABULARY:
            continue
        for word in claim.parsed.words:
            if word in words and word not in said and (own, word) not in _SHARED:
                return contradicted("modality", f"says {word!r}, a word of {other}; the study is {claim.modality}")
    named = next((w for w in claim.parsed.words if w in _NAMED and _NAMED[w] != own and w not in said), None)
    if named is not None and own in VOCABULARY:
        return unknown("modality", f"speaks of {named!r}; the study is {claim.modality}")
    cited = {n for f in claim.everything for n in (*f.names, *f.broader)}
    measured = {w for f in claim.cited.facts for words in f.measured for w in words}
    for mention in claim.parsed.findings:
        term = claim.book.terms[mention.name]
        spoken = claim.parsed.words[mention.start : mention.end]
        if mention.used or set(spoken) <= measured or {root(w) for w in spoken} <= claim.cited.roots:
            continue
        if mention.name not in cited and _elsewhere(term.region, claim.region):
            return contradicted("modality", f"names {mention.name}, which a study of the {claim.region} does not show")
    for organ in claim.parsed.organs:
        name = organ.name if organ.kind == "organ" else next(e.name for e in organ.also if e.kind == "organ")
        term = claim.book.organs[name]
        if claim.parsed.words[organ.start : organ.end] in (["ventricle"], ["sulcus"], ["head"], ["body"]):
            # words of more than one part of the body: the ventricle of the heart and of the brain
            continue
        if name in claim.cited.organs or set(claim.parsed.words[organ.start : organ.end]) <= said:
            continue
        if _elsewhere(term.region, claim.region):
            return contradicted("modality", f"names {name}, which a study of the {claim.region} does not show")
        if (
            term.modalities
            and claim.modality not in term.modalities
            and own not in term.modalities
            and own in VOCABULARY
        ):
            return contradicted("modality", f"names {name}, which {claim.modality} does not show")
    return None


def _elsewhere(region: str, study: str | None) -> bool:
    """Chest and abdomen show each other's edges and their bones; the head shows neither, nor do they show the brain."""
    if study is None or region in {"any", study}:
        return False
    pairs = {("chest", "abdomen"), ("abdomen", "chest"), ("bone", "chest"), ("spine", "chest"), ("bone", "abdomen"),
             ("spine", "abdomen"), ("spine", "head"), ("spine", "bone"), ("bone", "spine")}  # fmt: skip
    return (region, study) not in pairs


def judgement(claim: Claim) -> Found | None:
    """Words that weigh, compare or judge need a cited fact or prior that does so."""
    words = claim.parsed.words
    held = {
        w
        for m in claim.parsed.found
        if m.kind not in {"organ", "normal", "state"} or (m.kind == "state" and m.used)
        for w in words[m.start : m.end]
    }
    held |= {
        w for m in claim.parsed.found if m.kind == "normal" and _normal_is_cited(claim) for w in words[m.start : m.end]
    }
    if (
        (_RANGE.search(claim.text) or ("normal" in words and "normal" not in held))
        and _measured(claim)
        and not _says(claim, "normal")
    ):
        return contradicted("judgement", "judges a measurement normal or not; no reference range is cited")
    hit = _CHANCE.search(claim.text)
    if hit is not None and hit.group().lower() in {"certain", "confident"} and _doubtful(claim):
        hit = None
    if hit is not None and not _calibrated(claim) and hit.group().lower() not in claim.cited.words:
        return contradicted("judgement", f"speaks of {hit.group().lower()}; the cited score is not calibrated")
    denied = all(a.presence == "absent" for a in claim.parsed.assertions) and bool(claim.parsed.assertions)
    for word in words:
        if claim.cited.says(word) or word in held or _alike(claim, word):
            continue
        if word == "typical" and " typical of " in f" {' '.join(words)} ":
            continue
        word = _bare(word) if _bare(word) in _WEIGHING and word not in claim.book.words else word
        if word in NORMALITY and (word not in {"poor", "good"} or _measured(claim)):
            verdict = contradicted if _measured(claim) else unknown
            return verdict("judgement", f"says {word!r}; nothing cited judges so")
        if word in COMPARISON and not claim.cited.priors:
            return unknown("judgement", f"says {word!r}; no prior is cited")
        if word in SEVERITY and not denied:
            return unknown("judgement", f"says {word!r}; nothing cited weighs it so")
        if word in NATURE and not denied:
            return unknown("judgement", f"says {word!r}; nothing cited says so")
    low = " ".join(words)
    for phrase in NARROWING:
        parts = phrase.split()
        if denied or f" {phrase} " not in f" {low} " or set(parts) <= held:
            continue
        lead = low.split(f"{phrase}")[0].split()[-1:]
        if (
            lead
            and lead[0] in {"not", "no", "non", "without"}
            and any(f.presence == "absent" for f in claim.everything)
        ):
            continue
        if not all(claim.cited.says(w) for w in parts):
            return unknown("judgement", f"says {phrase!r}; nothing cited says so")
    return None


def _doubtful(claim: Claim) -> bool:
    return any(f.presence == "uncertain" for f in claim.cited.facts)


def _bare(word: str) -> str:
    """ "Persistently" as "persistent", "chronically" as "chronic"."""
    return word[:-4] if word.endswith("ically") else word[:-2] if word.endswith("ly") and len(word) > 5 else word


def _alike(claim: Claim, word: str) -> bool:
    """Another word of the same weight is cited: "tiny" for "small"."""
    return any(word in group and group & claim.cited.words for group in ALIKE)


def _normal_is_cited(claim: Claim) -> bool:
    said = {root(w) for m in claim.parsed.found if m.kind == "normal" for w in claim.parsed.words[m.start : m.end]}
    if any(f.presence == "absent" and said & {root(w) for w in stems(f.label)} for f in claim.cited.facts):
        return True
    if any(a.kind == "normal" for a in claim.parsed.assertions):
        return True
    # "Normal study": nothing in it is abnormal.
    return any(f.presence == "absent" and any(n.endswith("abnormality") for n in f.names) for f in claim.cited.facts)


def _measured(claim: Claim) -> bool:
    return any(f.numbers for f in claim.cited.facts) and not any(a.kind == "normal" for a in claim.parsed.assertions)


def _says(claim: Claim, word: str) -> bool:
    return word in claim.cited.words


def _calibrated(claim: Claim) -> bool:
    return any(f.calibrated for f in claim.cited.facts)


def recommendation(claim: Claim) -> Found | None:
    """No advice without a cited source that gives it."""
    hit = RECOMMENDATION.search(claim.text)
    named = [m for m in claim.parsed.found if "finding" in kinds(m)]
    tokens = claim.parsed.tokens
    if hit and any(tokens[m.start].start <= hit.start() and hit.end() <= tokens[m.end - 1].end for m in named):
        return None  # "cardiac monitor leads" are a device
    if hit is None or any(RECOMMENDATION.search(t) for t in claim.cited.texts):
        return None
    return unknown("recommendation", f"advises ({hit.group().lower()}); no source is cited")


def unknown_words(claim: Claim) -> Found | None:
    """A word that neither the lexicon nor the evidence knows cannot be held against anything."""
    strange = _strange(claim)
    for word in strange:
        if _SUFFIX.search(word) and word not in _NOT_DISEASE:
            return contradicted("invented", f"names {word!r}, which is not among what is cited")
    if (qualifier := _qualifier(claim)) is not None:
        return unknown("unknown_words", f"says {qualifier!r}, which nothing cited says")
    if strange:
        return unknown("unknown_words", f"{strange[0]!r} is not a word that can be checked")
    return None


def _measuring(claim: Claim) -> set[int]:
    """Places of the words of a quantity: its number and unit."""
    spans = [q.span for q in claim.parsed.quantities]
    return {i for i, t in enumerate(claim.parsed.tokens) if any(a <= t.start < b for a, b in spans)}


def _denied(claim: Claim) -> set[int]:
    """Places between a denial and the finding it denies: "no duct dilatation" is narrower than what is cited."""
    out: set[int] = set()
    found = claim.parsed.found
    for n, m in enumerate(found[1:], 1):
        if kinds(m) & {"finding", "state"} and m.presence == "absent" and "neg-pre" in kinds(found[n - 1]):
            out |= set(range(found[n - 1].end, m.start))
    return out


def _qualifier(claim: Claim) -> str | None:
    """A word that narrows a finding ("tension", "burst") and that neither the finding's name nor the evidence holds."""
    inside = {i: m for m in claim.parsed.found if "finding" in kinds(m) for i in range(m.start, m.end)}
    here = {w for o in _organs(claim) for w in claim.book.organ_words.get(o, ())}
    placed = {i for m in claim.parsed.found if "finding" not in kinds(m) for i in range(m.start, m.end)}
    spared = _measuring(claim) | _denied(claim)
    for at, word in enumerate(claim.parsed.words):
        if at in spared:
            continue
        if word in claim.book.common or claim.cited.says(word) or word not in claim.book.words or not word.isalpha():
            continue
        mention = inside.get(at)
        if (mention is None and at in placed) or (
            mention is not None and (mention.presence == "absent" or word in here)
        ):
            continue
        if mention is None:
            return word
        own = set(stems(mention.name))
        if own < set(claim.parsed.words[mention.start : mention.end]) and word not in own:
            return word
    return None


def _organs(claim: Claim) -> set[str]:
    return {o for f in claim.cited.facts for o in (*f.organs, *f.sites)} | set(claim.cited.organs)


def _strange(claim: Claim) -> list[str]:
    measuring = _measuring(claim)
    return [
        t.stem
        for i, t in enumerate(claim.parsed.tokens)
        if i not in measuring
        and t.stem[0].isalpha()
        and len(t.stem) > 1
        and t.stem not in claim.book.words
        and root(t.stem) not in claim.book.plain_roots
        and _bare(t.stem) not in claim.book.words
        and not claim.cited.says(t.stem)
        and not _PLACE.match(t.stem)
        and set(t.stem) != {"x"}
        and not t.stem[-1].isdigit()
    ]
