"""Words of form by which the parser tells what belongs to what: they name nothing themselves."""

from __future__ import annotations

PREPOSITIONS = {
    "in", "of", "at", "within", "overlying", "over", "along", "to", "near", "on", "projecting", "involving",
    "throughout",
    "into", "from", "adjacent", "about", "around", "under", "beneath", "above", "between",
}  # fmt: skip
OWN_BEFORE = {
    "measuring", "probability", "density", "attenuation", "measure", "measures", "measured", "of",
    "is", "score", "=", ":", "by", "volume", "(", "and", "are",
    "was", "approximately", "to", "x", ",", "diameter", "size", "ratio", "than", "at", "about", "length",
}  # fmt: skip
DEVICE_NOUNS = {
    "catheter",
    "tube",
    "line",
    "lead",
    "wire",
    "device",
    "generator",
    "drain",
    "tip",
    "hardware",
    "tubing",
}
BE = {"is", "are", "was", "were", "remain", "show"}
ADJECTIVE = ("al", "ar", "ic", "ary", "ous")
MEANING = {
    "suggesting", "suggest", "suggestive", "represent", "representing", "consistent", "compatible", "indicating",
    "indicate", "reflect", "reflecting", "keeping", "due", "which", "secondary",
}  # fmt: skip
TISSUES = {"tendon", "muscle", "bone", "ligament", "nerve", "artery", "vein", "wall", "cartilage", "joint"}
SMALL = {"of", "the", "a", "an", "left", "right", "both"}
EXAMINATIONS = {
    "radiograph", "xray", "film", "ct", "mri", "mr", "scan", "ultrasound", "sonogram", "examination", "exam", "study",
    "image", "imaging", "view", "series", "tomography", "radiography", "sonography", "picture", "slice",
}  # fmt: skip
