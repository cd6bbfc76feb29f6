"""HL7 FHIR R4B, also valid as R4: one collection Bundle of study, report, findings, and who made and signed it."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Sequence
from html import escape
from typing import Any

from ..records import Code, Finding, Measurement, Producer, Reading, Review
from ..version import __version__
from .source import Source

SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "LN": "http://loinc.org",
    "RADLEX": "http://radlex.org",
    "FMA": "urn:oid:2.16.840.1.113883.6.119",
    "UCUM": "http://unitsofmeasure.org",
}
PRESENCE = {
    "present": Code("SCT", "52101004", "Present"),
    "absent": Code("SCT", "272519000", "Absent"),
    "uncertain": Code("SCT", "373068000", "Undetermined"),
}
SIDES = {
    "left": Code("SCT", "7771000", "Left"),
    "right": Code("SCT", "24028007", "Right"),
    "bilateral": Code("SCT", "51440002", "Bilateral"),
}
SCORE = Code("99ATTENDING", "model-score", "Score of the model, not calibrated")
PROBABILITY = Code("DCM", "122157", "Probability")
GENDERS = {"M": "male", "F": "female", "O": "other"}
NAMESPACE = uuid.UUID("5f1f6f0e-5f0a-4f43-9d0c-9a3f0a7d2c11")
"""Resource ids are made from it, so that the same reading gives the same ids."""


def bundle(
    reading: Reading, kind: str, source: Source | None, review: Review | None, organization: str | None
) -> bytes:
    """The Bundle as JSON. source: the DICOM study's instances, None for pictures and NIfTI (``kind`` says which)."""
    from fhir.resources.R4B.bundle import Bundle

    made = _Bundle(reading, kind, source, review if reading.status == "final" else None, organization)
    checked = Bundle.model_validate(made.build())
    return str(checked.model_dump_json(indent=1)).encode()


class _Bundle:
    """Collects the resources of one reading as plain dictionaries."""

    def __init__(
        self, reading: Reading, kind: str, source: Source | None, signed: Review | None, organization: str | None
    ) -> None:
        self.reading, self.kind, self.source, self.signed = reading, kind, source, signed
        self.organization = organization
        self.status = "final" if signed else "preliminary"
        self.entries: list[dict[str, Any]] = []
        self.inherited = source.inherited if source else {}

    def build(self) -> dict[str, Any]:
        """Patient, ImagingStudy, Devices, Observations, DiagnosticReport, Provenance."""
        self._patient()
        self._study()
        attending = self._device(Producer("attending", __version__), "attending")
        models = {p.model: p for p in (f.producer for f in self.reading.findings) if p.model}
        if self.reading.draft.writer.model:
            models.setdefault(self.reading.draft.writer.model, self.reading.draft.writer)
        devices = {model: self._device(p, model) for model, p in models.items()}
        results = [self._finding(f, devices.get(f.producer.model or "", attending)) for f in self.reading.findings]
        self._report(results)
        self._provenance(attending, list(devices.values()))
        return {
            "resourceType": "Bundle",
            "id": self._id("bundle"),
            "type": "collection",
            "timestamp": self.signed.when if self.signed else self.reading.created,
            "entry": self.entries,
        }

    def _id(self, name: str) -> str:
        return str(uuid.uuid5(NAMESPACE, f"{self.reading.id}/{self.reading.version}/{name}"))

    def _add(self, name: str, resource: dict[str, Any]) -> dict[str, str]:
        id = self._id(name)
        self.entries.append({"fullUrl": f"urn:uuid:{id}", "resource": resource | {"id": id}})
        return self._ref(name)

    def _ref(self, name: str) -> dict[str, str]:
        return {"reference": f"urn:uuid:{self._id(name)}"}

    def _patient(self) -> None:
        patient: dict[str, Any] = {"resourceType": "Patient"}
        if number := self.inherited.get("PatientID"):
            identifier: dict[str, Any] = {"value": number}
            if issuer := self.inherited.get("IssuerOfPatientID"):
                identifier["assigner"] = {"display": issuer}
            patient["identifier"] = [identifier]
        elif not self.source:
            patient["identifier"] = [{"system": "urn:attending:patient", "value": self.reading.case.patient}]
        if name := str(self.inherited.get("PatientName") or ""):
            patient["name"] = [_name(name)]
        if born := _date(self.inherited.get("PatientBirthDate")):
            patient["birthDate"] = born
        if gender := GENDERS.get(self.inherited.get("PatientSex") or self.reading.case.sex or ""):
            patient["gender"] = gender
        self._add("patient", patient)

    def _study(self) -> None:
        case = self.reading.case
        study: dict[str, Any] = {
            "resourceType": "ImagingStudy",
            "status": "available",
            "subject": self._ref("patient"),
            "modality": [_coding(Code("DCM", m, m)) for m in sorted({i.modality for i in case.images})],
        }
        if self.source is None:
            study["identifier"] = [{"system": "urn:attending:reading", "value": self.reading.id}]
            study["note"] = [{"text": f"The source is a {self.kind} file, not DICOM: there are no series to list."}]
        else:
            study["identifier"] = [{"system": "urn:dicom:uid", "value": f"urn:oid:{self.source.study}"}]
            if number := self.inherited.get("AccessionNumber"):
                coding = {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}
                study["identifier"].append({"type": {"coding": [coding]}, "value": number})
            if started := _date(self.inherited.get("StudyDate")):
                study["started"] = started
            named = [i for i in self.source.instances if i.sop_instance]
            study["numberOfInstances"] = len(named)
            study["series"] = []
            for uid in dict.fromkeys(i.series for i in named):
                members = [i for i in named if i.series == uid]
                study["series"].append(
                    {
                        "uid": _id_of(uid),
                        "modality": _coding(Code("DCM", members[0].modality, members[0].modality)),
                        "numberOfInstances": len(members),
                        "instance": [
                            {
                                "uid": _id_of(i.sop_instance),
                                "sopClass": {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{i.sop_class}"},
                            }
                            for i in members
                        ],
                    }
                )
            study["numberOfSeries"] = len(study["series"])
        self._add("study", study)

    def _device(self, producer: Producer, name: str) -> dict[str, str]:
        device: dict[str, Any] = {
            "resourceType": "Device",
            "deviceName": [{"name": producer.model or name, "type": "model-name"}],
            "type": {"coding": [_coding(Code("SCT", "706689003", "Application program software"))]},
        }
        if producer.version:
            device["version"] = [{"value": producer.version}]
        return self._add(f"device {name}", device)

    def _observation(self, name: str, code: Code, device: dict[str, str], body: dict[str, Any]) -> dict[str, str]:
        category = "http://terminology.hl7.org/CodeSystem/observation-category"
        observation: dict[str, Any] = {
            "resourceType": "Observation",
            "status": self.status,
            "category": [{"coding": [{"system": category, "code": "imaging", "display": "Imaging"}]}],
            "code": _concept(code),
            "subject": self._ref("patient"),
            "issued": self.reading.created,
            "device": device,
            "derivedFrom": [self._ref("study")],
        }
        if when := _date(self.inherited.get("StudyDate")):
            observation["effectiveDateTime"] = when
        return self._add(name, observation | body)

    def _finding(self, f: Finding, device: dict[str, str]) -> dict[str, str]:
        members = [self._measurement(f, m, n, device) for n, m in enumerate(f.measurements)]
        body: dict[str, Any] = {"valueCodeableConcept": _concept(PRESENCE[f.presence])}
        components = []
        if f.side:
            laterality = Code("SCT", "272741003", "Laterality")
            components.append({"code": _concept(laterality), "valueCodeableConcept": _concept(SIDES[f.side])})
        for code, value in ((PROBABILITY, f.probability), (SCORE, f.score)):
            if value is not None:
                components.append({"code": _concept(code), "valueQuantity": _quantity(value, "1")})
        if components:
            body["component"] = components
        if f.site:
            body["bodySite"] = _concept(f.site)
        if members:
            body["hasMember"] = members
        if f.notes:
            body["note"] = [{"text": n} for n in f.notes]
        return self._observation(f"finding {f.id}", f.code, device, body)

    def _measurement(self, f: Finding, m: Measurement, n: int, device: dict[str, str]) -> dict[str, str]:
        body: dict[str, Any] = {"valueQuantity": _quantity(m.value, m.unit), "bodySite": _concept(f.site or f.code)}
        return self._observation(f"measurement {f.id} {n}", m.code, device, body)

    def _report(self, results: Sequence[dict[str, str]]) -> None:
        reading = self.reading
        mark = "" if self.signed else reading.mark
        lines = [s.text for s in reading.draft.sentences]
        lines += [f"Not assessed: {n.what} ({n.why})" for n in reading.not_assessed]
        impression = " ".join(s.text for s in reading.draft.sentences if s.section == "impression")
        plain = "\n".join([mark, *lines] if mark else lines)
        paragraphs = "".join(f"<p>{escape(line, quote=False)}</p>" for line in ([mark, *lines] if mark else lines))
        report: dict[str, Any] = {
            "resourceType": "DiagnosticReport",
            "text": {
                "status": "generated",
                "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{_xml(paragraphs) or "<p>No sentence.</p>"}</div>',
            },
            "identifier": [{"system": "urn:attending:reading", "value": f"{reading.id}/{reading.version}"}],
            "status": self.status,
            "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD"}]}],
            "code": _concept(Code("LN", "18748-4", "Diagnostic imaging study")),
            "subject": self._ref("patient"),
            "issued": self.signed.when if self.signed else reading.created,
            "imagingStudy": [self._ref("study")],
        }
        if results:
            report["result"] = list(results)
        if conclusion := " ".join(part for part in (mark, impression) if part):
            report["conclusion"] = conclusion
        if when := _date(self.inherited.get("StudyDate")):
            report["effectiveDateTime"] = when
        if plain.strip():
            data = base64.b64encode(plain.encode()).decode()
            report["presentedForm"] = [{"contentType": "text/plain; charset=utf-8", "data": data}]
        if self.signed:
            report["resultsInterpreter"] = [{"display": self.signed.by}]
        if self.organization:
            report["performer"] = [{"display": self.organization}]
        self._add("report", report)

    def _provenance(self, attending: dict[str, str], models: Sequence[dict[str, str]]) -> None:
        def agent(role: str, who: dict[str, str]) -> dict[str, Any]:
            system = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
            return {"type": {"coding": [{"system": system, "code": role}]}, "who": who}

        agents = [agent("assembler", attending), *(agent("author", m) for m in models)]
        provenance: dict[str, Any] = {
            "resourceType": "Provenance",
            "target": [self._ref("report")],
            "recorded": self.signed.when if self.signed else self.reading.created,
            "entity": [{"role": "source", "what": self._ref("study")}],
        }
        if self.signed:
            who = {"display": self.signed.by}
            agents.append(agent("verifier", who))
            provenance["signature"] = [
                {
                    "type": [
                        {
                            "system": "urn:iso-astm:E1762-95:2013",
                            "code": "1.2.840.10065.1.12.1.5",
                            "display": "Verification Signature",
                        }
                    ],
                    "when": self.signed.when,
                    "who": who,
                    "sigFormat": "application/octet-stream",
                    "data": base64.b64encode(bytes.fromhex(self.signed.signature)).decode(),
                }
            ]
        self._add("provenance", provenance | {"agent": agents})


def _coding(code: Code) -> dict[str, str]:
    system = SYSTEMS.get(code.scheme, f"urn:attending:code-system:{code.scheme}")
    return {"system": system, "code": code.value.strip(), "display": code.meaning}


def _concept(code: Code) -> dict[str, Any]:
    return {"coding": [_coding(code)], "text": code.meaning}


def _quantity(value: float, ucum: str) -> dict[str, Any]:
    return {"value": value, "unit": ucum, "system": SYSTEMS["UCUM"], "code": ucum}


def _name(pn: str) -> dict[str, Any]:
    """A DICOM person name's first group: family, given, middle, prefix, suffix."""
    parts = [*pn.split("=")[0].split("^"), "", "", "", "", ""][:5]
    family, given, middle, prefix, suffix = (p.strip() for p in parts)
    name: dict[str, Any] = {"text": " ".join(p for p in (prefix, given, middle, family, suffix) if p) or pn}
    if family:
        name["family"] = family
    if given or middle:
        name["given"] = [p for p in (given, middle) if p]
    if prefix:
        name["prefix"] = [prefix]
    if suffix:
        name["suffix"] = [suffix]
    return name


def _date(da: Any) -> str | None:
    """A DICOM date as a FHIR date."""
    text = str(da or "")
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if re.fullmatch(r"\d{8}", text) else None


def _xml(text: str) -> str:
    """Without the control characters that XML does not have."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", " ", text)


def _id_of(uid: str) -> str:
    """A DICOM UID as FHIR's type ``id``; a malformed one, which ``id`` cannot hold, by a UID made from it."""
    return uid if re.fullmatch(r"[A-Za-z0-9.-]{1,64}", uid) else f"2.25.{uuid.uuid5(NAMESPACE, uid).int}"
